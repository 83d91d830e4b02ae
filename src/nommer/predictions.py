"""What the models answer: frozen results that can be shown, saved and turned into plain values."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_masks
from PIL import Image, ImageDraw, ImageFont

_MARGIN = 6

_LINE = 22
"""Height of a line of text under or beside a picture, in pixels."""

_LETTERS = 16

_OPACITY = 0.5
"""Of the classes' colours over an image."""


@dataclass(frozen=True)
class Classification:
    """Class probabilities of one image."""

    source: str
    """The image's path, or "image" for one given in memory."""
    class_names: tuple[str, ...]
    """Names of all classes, in the order of `probabilities`."""
    probabilities: tuple[float, ...]
    """Softmax of the model's scores: from 0 to 1, together 1."""

    @property
    def label(self) -> int:
        """Index of the most probable class; ties to the first."""
        return self.probabilities.index(max(self.probabilities))

    @property
    def name(self) -> str:
        """Name of the most probable class."""
        return self.class_names[self.label]

    @property
    def probability(self) -> float:
        """Probability of the most probable class."""
        return self.probabilities[self.label]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` most probable classes as (name, probability), best first."""
        ranked = sorted(zip(self.class_names, self.probabilities, strict=True), key=lambda pair: -pair[1])
        return ranked[:count]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """Plain values for JSON: the image and its `count` most probable classes."""
        return {"image": self.source, "top": [{"class": name, "probability": p} for name, p in self.top(count)]}

    def plot(self, image: Image.Image, count: int = 3) -> Image.Image:
        """The image with its most probable classes written under it."""
        shown = image.copy()
        shown.thumbnail((640, 640))
        shown = shown if min(shown.size) >= 224 else shown.resize(_enlarged(shown.size), Image.Resampling.NEAREST)
        font = ImageFont.load_default(_LETTERS)
        lines = [f"{probability:.1%}  {name}" for name, probability in self.top(count)]
        width = max(shown.width, *(math.ceil(font.getlength(line)) + 2 * _MARGIN for line in lines))
        sheet = Image.new("RGB", (width, shown.height + _LINE * len(lines) + 2 * _MARGIN), "white")
        sheet.paste(shown, (0, 0))
        draw = ImageDraw.Draw(sheet)
        for row, line in enumerate(lines):
            draw.text((_MARGIN, shown.height + _MARGIN + _LINE * row), line, fill="black", font=font)
        return sheet

    def save(self, path: Path, image: Image.Image) -> None:
        """Write the annotated image to `path`."""
        self.plot(image).save(path)


def _enlarged(size: tuple[int, int], side: int = 224) -> tuple[int, int]:
    """At least `side` pixels on the shorter side, at most 640 on the longer, by a whole factor where that fits."""
    factor = max(1, min(-(-side // min(size)), 640 // max(size)))
    return size[0] * factor, size[1] * factor


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The class of every pixel of one image."""

    source: str
    """The image's path, or "image" for one given in memory."""
    class_names: tuple[str, ...]
    """Names of all classes; a label is an index into them."""
    colours: tuple[tuple[int, int, int], ...]
    """RGB colour (0-255) of each class in pictures."""
    labels: np.ndarray
    """(H, W) uint8, at the image's own size."""

    @property
    def shares(self) -> dict[str, float]:
        """Share of the pixels that have each class, the largest first; classes that do not occur are left out."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.class_names))
        occurring = sorted(np.flatnonzero(counts), key=lambda label: -counts[label])
        return {self.class_names[label]: float(counts[label] / self.labels.size) for label in occurring}

    def summary(self) -> "SegmentationSummary":
        """The shares without the pixels: what can be kept of very many images."""
        return SegmentationSummary(self.source, self.labels.shape[0], self.labels.shape[1], self.shares)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the image, its size in pixels and the share of each class that occurs."""
        return self.summary().to_dict()

    def index_image(self) -> Image.Image:
        """The labels as a grey image (mode L): the value of a pixel is its class."""
        return Image.fromarray(self.labels)

    def palette_image(self) -> Image.Image:
        """The labels as an image with a palette (mode P): the values are classes, shown in their colours."""
        image, palette = Image.fromarray(self.labels), bytes(value for colour in self.colours for value in colour)
        image.putpalette(palette.ljust(3 * 256, b"\0"))  # turns mode L into P; a whole palette keeps all 8 bits on disk
        return image

    def overlay(self, image: Image.Image) -> Image.Image:
        """The image with every pixel tinted in the colour of its class.

        Args:
            image: the RGB image that was segmented.
        """
        return Image.blend(image, self.palette_image().convert("RGB"), _OPACITY)

    def plot(self, image: Image.Image) -> Image.Image:
        """The overlay, with a legend of the classes that occur and their shares under it."""
        shown = self.overlay(image)
        shown.thumbnail((1280, 1280))
        shown = shown if min(shown.size) >= 224 else shown.resize(_enlarged(shown.size), Image.Resampling.NEAREST)
        font = ImageFont.load_default(_LETTERS)
        entries = [(name, f"{share:.1%}  {name}") for name, share in self.shares.items()]
        column = math.ceil(max(font.getlength(text) for _, text in entries)) + _LINE + 2 * _MARGIN
        columns = max(1, shown.width // column)
        rows = -(-len(entries) // columns)
        sheet = Image.new("RGB", (max(shown.width, column), shown.height + _LINE * rows + 2 * _MARGIN), "white")
        sheet.paste(shown, (0, 0))
        draw = ImageDraw.Draw(sheet)
        for index, (name, text) in enumerate(entries):
            left = column * (index // rows) + _MARGIN
            top = shown.height + _MARGIN + _LINE * (index % rows)
            colour = self.colours[self.class_names.index(name)]
            draw.rectangle((left, top + 2, left + _LETTERS, top + _LETTERS + 2), fill=colour, outline="black")
            draw.text((left + _LINE, top), text, fill="black", font=font)
        return sheet

    def save(self, path: Path, image: Image.Image) -> None:
        """Write the overlay with its legend to `path`."""
        self.plot(image).save(path)


@dataclass(frozen=True)
class SegmentationSummary:
    """How much of an image each class has."""

    source: str
    """The image's path, or "image" for one given in memory."""
    height: int
    width: int
    shares: dict[str, float]
    """Share of the pixels that have each class that occurs, the largest first; together 1."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the image, its size in pixels and the share of each class that occurs."""
        return {"image": self.source, "height": self.height, "width": self.width, "shares": self.shares}


@dataclass(frozen=True, eq=False)
class Detections:
    """The n objects found in one image, the best first."""

    source: str
    """The image's path, or "image" for one given in memory."""
    class_names: tuple[str, ...]
    """Names of all classes; a label is an index into them."""
    size: tuple[int, int]
    """Height and width of the image in pixels."""
    boxes: np.ndarray
    """(n, 4) float64: left, upper, right and lower end in pixels of the image, inside it."""
    scores: np.ndarray
    """(n,) float64, from 0 to 1."""
    labels: np.ndarray
    """(n,) int64."""
    masks: tuple[bytes, ...] | None = None
    """COCO's compressed run lengths, of masks as large as the image; None from a model that knows boxes only."""

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def areas(self) -> np.ndarray:
        """(n,) float64 square pixels: of the masks, or of the boxes where there are no masks."""
        if self.masks is None:
            return (self.boxes[:, 2:] - self.boxes[:, :2]).prod(1)
        sized = [{"size": list(self.size), "counts": mask} for mask in self.masks]
        return np.asarray(coco_masks.area(sized), np.float64).reshape(-1)

    def at_least(self, threshold: float) -> "Detections":
        """Those with this score or more."""
        count = int((self.scores >= threshold).sum())
        boxes, scores, labels = (values[:count] for values in (self.boxes, self.scores, self.labels))
        masks = None if self.masks is None else self.masks[:count]
        return replace(self, boxes=boxes, scores=scores, labels=labels, masks=masks)

    def mask(self, index: int) -> np.ndarray:
        """The pixels of one object, (H, W) bool: of its mask, or of its box where there are no masks."""
        if self.masks is not None:
            return coco_masks.decode({"size": list(self.size), "counts": self.masks[index]}).astype(bool)
        left, upper, right, lower = self.boxes[index].round().astype(int)
        pixels = np.zeros(self.size, bool)
        pixels[upper:lower, left:right] = True
        return pixels

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the image, its size in pixels, and class, score and box of every object."""
        objects = [
            {"class": self.class_names[label], "score": score, "box": box}
            for label, score, box in zip(self.labels, self.scores.tolist(), self.boxes.tolist(), strict=True)
        ]
        return {"image": self.source, "height": self.size[0], "width": self.size[1], "objects": objects}

    def to_coco(self, image_id: int, category_ids: Sequence[int]) -> list[dict[str, Any]]:
        """COCO's results: the objects as plain values for JSON.

        Args:
            image_id: of this image.
            category_ids: of every class.
        """
        results: list[dict[str, Any]] = []
        for index, (left, upper, right, lower) in enumerate(self.boxes.tolist()):
            found = {"image_id": image_id, "category_id": category_ids[self.labels[index]]}
            found |= {"bbox": [left, upper, right - left, lower - upper], "score": float(self.scores[index])}
            if self.masks is not None:
                found["segmentation"] = {"size": list(self.size), "counts": self.masks[index].decode("ascii")}
            results.append(found)
        return results

    def to_yolo(self) -> str:
        """YOLO's labels: a line per object, its class and its box (middle, width, height) in shares of the image."""
        sides = np.array(self.size[::-1] * 2)
        middles, extents = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2, self.boxes[:, 2:] - self.boxes[:, :2]
        shares = np.concatenate([middles, extents], 1) / sides
        rows = zip(self.labels, shares.tolist(), strict=True)
        return "".join(f"{label} {' '.join(f'{value:.6f}' for value in box)}\n" for label, box in rows)

    def plot(self, image: Image.Image) -> Image.Image:
        """The image with the objects' boxes, names and scores, and their masks tinted; the best on top.

        Args:
            image: the RGB image that was looked at.
        """
        shown = Image.fromarray(self._tinted(np.asarray(image))) if self.masks else image.copy()
        shown.thumbnail((1280, 1280))
        shown = shown if min(shown.size) >= 224 else shown.resize(_enlarged(shown.size), Image.Resampling.NEAREST)
        draw, font = ImageDraw.Draw(shown), ImageFont.load_default(_LETTERS)
        scales = np.array([shown.width / image.width, shown.height / image.height] * 2)
        for box, score, label in [*zip(self.boxes * scales, self.scores, self.labels, strict=True)][::-1]:
            colour = class_colour(label)
            draw.rectangle(box.tolist(), outline=colour, width=2)
            text = f"{self.class_names[label]} {score:.0%}"
            left, top = max(0, min(box[0], shown.width - font.getlength(text))), max(0, box[1] - _LINE)
            draw.rectangle(draw.textbbox((left, top), text, font=font), fill=colour)
            draw.text((left, top), text, fill="black", font=font)
        return shown

    def _tinted(self, pixels: np.ndarray) -> np.ndarray:
        tinted = pixels.copy()
        for index in reversed(range(len(self))):
            inside, colour = self.mask(index), np.array(class_colour(self.labels[index]))
            tinted[inside] = (1 - _OPACITY) * pixels[inside] + _OPACITY * colour
        return tinted

    def save(self, path: Path, image: Image.Image) -> None:
        """Write the annotated image to `path`."""
        self.plot(image).save(path)


def class_colour(label: int) -> tuple[int, int, int]:
    """A bright RGB colour for a class: hues a golden angle apart, so that no two of few classes are alike."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.381966 % 1, 0.65, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


@dataclass(frozen=True)
class Failure:
    """An image without an answer, and why; the other images of its batch have theirs."""

    source: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"image": self.source, "error": self.error}
