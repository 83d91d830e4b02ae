"""The objects in an image."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from faster_coco_eval.core import mask as coco_masks
from PIL import Image

from nommer.predictions.answer import FRAME_SIDE, Answer, Colour, Moment
from nommer.predictions.conversion import from_supervision, to_supervision
from nommer.predictions.drawing import LARGEST, class_colour
from nommer.predictions.object_pictures import draw_objects
from nommer.predictions.parts import Parts
from nommer.predictions.picture import Picture

if TYPE_CHECKING:
    import supervision as sv

SURE = 0.5
"""Least score of objects that count as found, where no data say a better one."""

PART_COLOURS: dict[str, Colour] = {"objects": (230, 60, 60), "background": (200, 200, 200)}
"""Parts of an image with objects, and the colour that stands beside their names."""


@dataclass(frozen=True, eq=False, repr=False)
class Detections(Answer):
    """The n objects found in one image, the best first."""

    options: ClassVar[frozenset[str]] = frozenset({"threshold", "most", "pixels"})
    explained_by: ClassVar[tuple[str, ...]] = ("shares_inside",)

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
    """COCO's compressed run lengths, of masks as large as the image; None from a model that knows
    boxes only.
    """
    picture: Picture | None = field(default=None, repr=False, compare=False)
    """The way back to the image, for pictures in notebooks."""
    thresholds: tuple[float, ...] | None = None
    """Least score of an answer of each class; None where no other limit was set than the
    network's own."""
    moment: Moment | None = field(default=None, repr=False)
    """The place in a video."""
    tracks: tuple[int | None, ...] | None = None
    """Of a video that is tracked, the number that each object keeps from frame to frame; None for
    one that was seen in this frame first."""

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
        return self.first(int((self.scores >= threshold).sum()))

    def first(self, most: int | None) -> "Detections":
        """The best, so many at most; all where nothing is said."""
        if most is None:
            return self
        return self.take(np.arange(min(most, len(self))))

    def take(self, chosen: np.ndarray) -> "Detections":
        """Those at these places, in this order."""
        boxes, scores, labels = (
            values[chosen] for values in (self.boxes, self.scores, self.labels)
        )
        masks = None if self.masks is None else tuple(self.masks[i] for i in chosen.tolist())
        tracks = None if self.tracks is None else tuple(self.tracks[i] for i in chosen.tolist())
        return replace(self, boxes=boxes, scores=scores, labels=labels, masks=masks, tracks=tracks)

    def sure(self) -> "Detections":
        """Return those that count as found.

        By the thresholds that they were answered with, or else those that are more likely objects
        than not.
        """
        return self.at_least(SURE) if self.thresholds is None else self

    def with_parts(self, image: Image.Image) -> tuple[Image.Image, dict[str, Colour]]:
        """Return the image with the objects drawn in, and colours of objects and background."""
        return self.plot(image), dict(PART_COLOURS)

    def parts(self) -> Parts:
        """Return the pixels of objects, and all others."""
        inside = np.zeros(self.size, bool)
        for index in range(len(self)):
            inside |= self.mask(index)
        return Parts("shares_inside", (~inside).astype(int), ("objects", "background"))

    def headline(self) -> list[str]:
        """Return how many objects of every class there are, the most frequent first."""
        counts = Counter(self.class_names[label] for label in self.labels)
        return [f"{count} {name}" for name, count in counts.most_common()]

    def mask(self, index: int) -> np.ndarray:
        """The pixels of one object, (H, W) bool.

        Of its mask, or of its box where there are no masks.
        """
        if self.masks is not None:
            runs = {"size": list(self.size), "counts": self.masks[index]}
            return coco_masks.decode(runs).astype(bool)
        left, upper, right, lower = self.boxes[index].round().astype(int)
        pixels = np.zeros(self.size, bool)
        pixels[upper:lower, left:right] = True
        return pixels

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per object: class, score, ends of its box, area; in pixels of the image."""
        numbers = zip(
            self.labels.tolist(),
            self.scores.tolist(),
            self.boxes.tolist(),
            self.areas.tolist(),
            strict=True,
        )
        return [
            {**self.of, "class": self.class_names[label], "score": score}
            | dict(zip(("left", "upper", "right", "lower"), box, strict=True))
            | {"area": area}
            | ({} if self.tracks is None else {"track": self.tracks[index]})
            for index, (label, score, box, area) in enumerate(numbers)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        The image, its size in pixels, and class, score, box and, if tracked, number of every
        object.
        """
        objects = [
            {"class": self.class_names[label], "score": score, "box": box}
            for label, score, box in zip(
                self.labels, self.scores.tolist(), self.boxes.tolist(), strict=True
            )
        ]
        for found, track in zip(objects, self.tracks or (), strict=False):
            found["track"] = track
        return {
            **self.of,
            "height": self.size[0],
            "width": self.size[1],
            **({} if self.thresholds is None else {"thresholds": self._named_thresholds()}),
            "objects": objects,
        }

    def _named_thresholds(self) -> dict[str, float]:
        return dict(zip(self.class_names, self.thresholds or (), strict=False))

    def to_coco(self, image_id: int, category_ids: Sequence[int]) -> list[dict[str, Any]]:
        """COCO's results: the objects as plain values for JSON.

        Args:
            image_id: of this image.
            category_ids: of every class.
        """
        results: list[dict[str, Any]] = []
        for index, (left, upper, right, lower) in enumerate(self.boxes.tolist()):
            found = {"image_id": image_id, "category_id": category_ids[self.labels[index]]}
            found |= {
                "bbox": [left, upper, right - left, lower - upper],
                "score": float(self.scores[index]),
            }
            if self.masks is not None:
                found["segmentation"] = {
                    "size": list(self.size),
                    "counts": self.masks[index].decode("ascii"),
                }
            results.append(found)
        return results

    def to_yolo(self, category_ids: Sequence[int] | None = None) -> str:
        """Return YOLO's labels: a line per object.

        It holds its class and its box (middle, width, height) in shares of the image.

        Args:
            category_ids: number of every class; by default counted from 0.
        """
        numbers = range(len(self.class_names)) if category_ids is None else category_ids
        sides = np.array(self.size[::-1] * 2)
        middles, extents = (
            (self.boxes[:, :2] + self.boxes[:, 2:]) / 2,
            self.boxes[:, 2:] - self.boxes[:, :2],
        )
        shares = np.concatenate([middles, extents], 1) / sides
        rows = zip(self.labels, shares.tolist(), strict=True)
        return "".join(
            f"{numbers[label]} {' '.join(f'{value:.6f}' for value in box)}\n" for label, box in rows
        )

    def to_supervision(self) -> "sv.Detections":
        """Return the objects as the package supervision has them.

        Raises:
            InputError: supervision is not installed.
        """
        masks = None if self.masks is None else [self.mask(index) for index in range(len(self))]
        found = to_supervision(
            self.boxes, self.labels, self.class_names, scores=self.scores, masks=masks
        )
        if self.tracks is not None:  # -1 is how trackers write that an object has no number yet
            found.tracker_id = np.array([-1 if t is None else t for t in self.tracks], int)
        return found

    @classmethod
    def from_supervision(
        cls,
        found: "sv.Detections",
        *,
        class_names: Sequence[str] | None = None,
        size: tuple[int, int] | None = None,
        source: str = "image",
    ) -> "Detections":
        """Return supervision's detections as an answer, the best first; without scores all at 1.

        Args:
            found: with class ids.
            class_names: that the ids index; by default the names that `found` has.
            size: height and width of the image; by default those of the masks.
            source: the image's path.

        Raises:
            InputError: class names or the size are not known, or an id has no name.
        """
        return cls(source, **from_supervision(found, class_names, size))

    def plot(self, image: Image.Image, *, with_scores: bool = True) -> Image.Image:
        """The RGB image with the objects' boxes, names and scores, and their masks tinted.

        The best on top.

        Names are left out where there is only one class, and with the scores where they would hide
        the picture.
        """
        return self._drawn_in(image, LARGEST, with_scores=with_scores)

    def on_frame(self, image: Image.Image) -> Image.Image:
        """Return the frame with the objects, at its own size."""
        return self._drawn_in(image, FRAME_SIDE, with_scores=True)

    def _drawn_in(self, image: Image.Image, largest: int, *, with_scores: bool) -> Image.Image:
        masks = self.masks and [self.mask(index) for index in range(len(self))]
        texts, colours = self._texts(with_scores=with_scores), self._colours()
        return draw_objects(
            image, self.boxes, masks or (), texts, colours, kept=self._numbers(), largest=largest
        )

    def _texts(self, *, with_scores: bool) -> list[str]:
        """Return the text beside each object."""
        names = [
            self.class_names[label] if len(self.class_names) > 1 else "" for label in self.labels
        ]
        scores = [f"{score:.0%}" if with_scores else "" for score in self.scores]
        parts = zip(self._numbers(), names, scores, strict=True)
        return [" ".join(filter(None, part)) for part in parts]

    def _numbers(self) -> list[str]:
        """Return the number of each object's track, empty where there is none."""
        return ["" if one is None else f"#{one}" for one in self.tracks or [None] * len(self)]

    def _colours(self) -> list[Colour]:
        """Return the colour of each object's class; where there is only one, its own.

        That of its track where it has one, so that an object keeps its colour through a video.
        """
        if len(self.class_names) > 1:
            return [class_colour(label) for label in self.labels]
        tracks = self.tracks or [None] * len(self)
        return [class_colour(i if track is None else track) for i, track in enumerate(tracks)]

    def save(self, path: Path, image: Image.Image) -> None:
        """Write the annotated image to `path`."""
        self.plot(image).save(path)
