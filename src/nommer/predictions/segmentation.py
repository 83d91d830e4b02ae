"""The class of every pixel of an image."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image, ImageDraw

from nommer.fonts import lettering_for
from nommer.predictions.answer import FRAME_SIDE, Answer, Colour, Moment
from nommer.predictions.conversion import to_supervision
from nommer.predictions.drawing import (
    LARGEST,
    LETTERS,
    LINE,
    MARGIN,
    OPACITY,
    captioned,
    fitted,
)
from nommer.predictions.parts import Parts
from nommer.predictions.picture import Picture

if TYPE_CHECKING:
    import supervision as sv


_ON_FRAME = 6
"""Classes that a frame of a video names."""


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation(Answer):
    """The class of every pixel of one image."""

    options: ClassVar[frozenset[str]] = frozenset({"pixels"})
    explained_by: ClassVar[tuple[str, ...]] = ("shrunk_from", "shares_per_class")

    source: str
    """The image's path, or "image" for one given in memory."""
    class_names: tuple[str, ...]
    """Names of all classes; a label is an index into them."""
    colours: tuple[tuple[int, int, int], ...]
    """RGB colour (0-255) of each class in pictures."""
    labels: np.ndarray
    """(H, W) uint8, at the image's own size."""
    picture: Picture | None = field(default=None, repr=False, compare=False)
    """The way back to the image, for pictures in notebooks."""
    moment: Moment | None = field(default=None, repr=False)
    """The place in a video."""

    @property
    def shares(self) -> dict[str, float]:
        """Share of the pixels that have each class, the largest first.

        Classes that do not occur are left out.
        """
        counts = np.bincount(self.labels.ravel(), minlength=len(self.class_names))
        occurring = sorted(np.flatnonzero(counts), key=lambda label: -counts[label])
        return {
            self.class_names[label]: float(counts[label] / self.labels.size) for label in occurring
        }

    def sure(self) -> "Segmentation":
        """Return the answer as it is."""
        return self

    def with_parts(self, image: Image.Image) -> tuple[Image.Image, dict[str, Colour]]:
        """Return the image with the classes laid over it, and the colour of each."""
        return self.overlay(image), dict(zip(self.class_names, self.colours, strict=True))

    def beside_explanation(self) -> dict[str, Any]:
        """Return the shares of the classes, called so: contexts have shares too."""
        answer = self.to_dict()
        return {**answer, "classes": answer.pop("shares")}

    def parts(self) -> Parts:
        """Return the regions of the classes."""
        return Parts("shares_per_class", self.labels, self.class_names)

    def headline(self) -> list[str]:
        """Return the share of every class that occurs, the largest first."""
        return self.summary().headline()

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per class that occurs, with its share of the pixels, the largest first."""
        return self.summary().rows()

    def summary(self) -> "SegmentationSummary":
        """The shares without the pixels: what can be kept of very many images."""
        return SegmentationSummary(
            self.source, self.labels.shape[0], self.labels.shape[1], self.shares, self.moment
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        The image, its size in pixels and the share of each class that occurs.
        """
        return self.summary().to_dict()

    def to_supervision(self) -> "sv.Detections":
        """Return the region of every class that occurs, the largest first, as supervision has it.

        Raises:
            InputError: supervision is not installed.
        """
        labels = np.array([self.class_names.index(name) for name in self.shares])
        masks = [self.labels == label for label in labels]
        boxes = np.array([_box_of(mask) for mask in masks])
        return to_supervision(boxes, labels, self.class_names, masks=masks)

    def index_image(self) -> Image.Image:
        """The labels as a grey image (mode L): the value of a pixel is its class."""
        return Image.fromarray(self.labels)

    def palette_image(self) -> Image.Image:
        """The labels as an image with a palette (mode P).

        The values are classes, shown in their colours.
        """
        image, palette = (
            Image.fromarray(self.labels),
            bytes(value for colour in self.colours for value in colour),
        )
        image.putpalette(
            palette.ljust(3 * 256, b"\0")
        )  # turns mode L into P; a whole palette keeps all 8 bits on disk
        return image

    def overlay(self, image: Image.Image) -> Image.Image:
        """The image with every pixel tinted in the colour of its class.

        Args:
            image: the RGB image that was segmented.
        """
        return Image.blend(image, self.palette_image().convert("RGB"), OPACITY)

    def plot(self, image: Image.Image) -> Image.Image:
        """The overlay, with a legend of the classes that occur and their shares under it."""
        shown = fitted(self.overlay(image), LARGEST)
        lettering = lettering_for(self.shares)
        font = lettering.font(LETTERS)
        entries = [
            (name, f"{share:.1%}  {lettering.shown(name)}") for name, share in self.shares.items()
        ]
        column = math.ceil(max(font.getlength(text) for _, text in entries)) + LINE + 2 * MARGIN
        columns = max(1, shown.width // column)
        rows = -(-len(entries) // columns)
        sheet = Image.new(
            "RGB", (max(shown.width, column), shown.height + LINE * rows + 2 * MARGIN), "white"
        )
        sheet.paste(shown, (0, 0))
        draw = ImageDraw.Draw(sheet)
        for index, (name, text) in enumerate(entries):
            left = column * (index // rows) + MARGIN
            top = shown.height + MARGIN + LINE * (index % rows)
            colour = self.colours[self.class_names.index(name)]
            draw.rectangle(
                (left, top + 2, left + LETTERS, top + LETTERS + 2), fill=colour, outline="black"
            )
            draw.text((left + LINE, top), text, fill="black", font=font)
        return sheet

    def on_frame(self, image: Image.Image) -> Image.Image:
        """Return the overlay with the largest classes in a corner."""
        largest = list(self.shares.items())[:_ON_FRAME]
        lines = [f"{share:.1%}  {name}" for name, share in largest]
        colours = [self.colours[self.class_names.index(name)] for name, _ in largest]
        return captioned(fitted(self.overlay(image), FRAME_SIDE), lines, colours)

    def save(self, path: Path, image: Image.Image) -> None:
        """Write the overlay with its legend to `path`."""
        self.plot(image).save(path)


def _box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return left, upper, right and lower end of the pixels of a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True, repr=False)
class SegmentationSummary(Answer):
    """The share of an image that each class has."""

    source: str
    """The image's path, or "image" for one given in memory."""
    height: int
    width: int
    shares: dict[str, float]
    """Share of the pixels that have each class that occurs, the largest first; together 1."""
    moment: Moment | None = field(default=None, repr=False)
    """The place in a video."""

    def headline(self) -> list[str]:
        """Return the share of every class that occurs, the largest first."""
        return [f"{name} {share:.1%}" for name, share in self.shares.items()]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per class that occurs, with its share of the pixels, the largest first."""
        return [{**self.of, "class": name, "share": share} for name, share in self.shares.items()]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        The image, its size in pixels and the share of each class that occurs.
        """
        return {
            **self.of,
            "height": self.height,
            "width": self.width,
            "shares": self.shares,
        }
