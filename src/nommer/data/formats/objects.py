"""Objects in images: boxes, classes and masks, and the check that every object passes.

What a data set says of an object may make no sense; here it becomes sound or is dropped, and either
is listed. So boxes are finite, lie inside their image and have an area, wherever they are used.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from faster_coco_eval.core import mask as coco_masks

from nommer.data.formats.labelled import Issue, LabelledImages, Severity
from nommer.data.formats.object_checks import SMALLEST_LEARNED, contradiction, wrong_area
from nommer.data.formats.object_masks import TOLERANCE, box_of, encode_mask

SMALLEST = 0.01
"""Least width and height of a box in pixels; thinner ones are degenerate."""

ROUNDING = 0.01
"""By how much a box of one pixel may be under a pixel, in pixels, for its corners are rounded."""

Box = tuple[float, float, float, float]
"""Left, upper, right and lower end in pixels; the whole image is (0, 0, width, height)."""


class Tell(Protocol):
    """Takes an oddity of an object, and how it was handled."""

    def __call__(self, what: str, done: str, severity: Severity = "problem") -> None:
        """List it."""


@dataclass(frozen=True)
class RawObject:
    """One object as a data set describes it, not yet looked at."""

    where: str
    """Its place in its file, for people."""
    label: int
    """Index of its class."""
    box: Box | None = None
    """By default that of its mask."""
    segmentation: Any = None
    """A mask in one of COCO's ways: polygons or run lengths; nothing where there is none."""
    crowd: bool = False
    area: Any = None
    """In square pixels; by default that of the mask, or else of the box."""


@dataclass(frozen=True, eq=False)
class Objects:
    """The n objects of one image."""

    boxes: np.ndarray
    """(n, 4) float64: left, upper, right and lower end in pixels, inside the image."""
    labels: np.ndarray
    """(n,) int64 indices of their classes."""
    crowd: np.ndarray
    """(n,) bool: many objects in one box; takes no part in training, and is no mistake to find or
    to miss.
    """
    areas: np.ndarray
    """(n,) float64 square pixels, by which the evaluation tells small, medium and large."""
    masks: tuple[bytes | None, ...]
    """COCO's compressed run lengths, of masks as large as the image; None where an object has no
    mask.
    """

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, chosen: np.ndarray) -> "Objects":
        """Those for which `chosen`, (n,) bool, holds."""
        masks = tuple(mask for mask, kept in zip(self.masks, chosen, strict=True) if kept)
        return Objects(
            self.boxes[chosen], self.labels[chosen], self.crowd[chosen], self.areas[chosen], masks
        )

    def as_bytes(self) -> bytes:
        """All that is known of them."""
        arrays = (self.boxes, self.labels, self.crowd, self.areas)
        return b"".join(
            [*(array.tobytes() for array in arrays), *(mask or b"-" for mask in self.masks)]
        )

    @property
    def have_masks(self) -> np.ndarray:
        """(n,) bool: which of them have one."""
        return np.array([mask is not None for mask in self.masks], bool)


@dataclass(frozen=True)
class DetectionSample:
    """One image file and its objects."""

    path: Path
    objects: Objects
    image_id: int
    """As the data have it, or else counted from 1; no two samples have the same."""
    size: tuple[int, int]
    """Width and height of the upright image in pixels, by the data or else by its header."""
    error: str | None = None
    """The reason for which it cannot be used, for the audit to tell."""
    reach: tuple[float, float] = (0.0, 0.0)
    """Largest right and lower end of its boxes before they were clipped, where that is known."""

    @property
    def reaches_outside(self) -> bool:
        """True where a box was clipped at the right or lower border of the size that is told."""
        return self.reach[0] > self.size[0] or self.reach[1] > self.size[1]


@dataclass(frozen=True)
class DetectionFolders(LabelledImages[DetectionSample]):
    """Images and their objects by split, with the class names that the labels index."""

    target: ClassVar[str] = "objects"

    category_ids: tuple[int, ...] = ()
    """Of each class, the number that the data know it by; predictions are written with these."""
    has_masks: bool = False
    """True where objects have masks; after the audit, where all have and masks are learned."""

    def target_of(self, sample: DetectionSample) -> str:
        """The number of objects in the image."""
        return str(len(sample.objects))


def masks_of(objects: Objects, height: int, width: int) -> np.ndarray:
    """(n, height, width) uint8: 1 where an object is, 0 elsewhere.

    Every object must have a mask of this size.
    """
    if not len(objects):
        return np.zeros((0, height, width), np.uint8)
    decoded = coco_masks.decode(
        [{"size": [height, width], "counts": counts} for counts in objects.masks]
    )
    return np.ascontiguousarray(decoded.transpose(2, 0, 1))


def make_objects(
    raw: Sequence[RawObject], size: tuple[int, int], *, file: Path, issues: list[Issue]
) -> Objects:
    """The sound ones of an image's objects; boxes that reach outside the image are clipped.

    Args:
        raw: as a data set describes them.
        size: width and height of the image in pixels.
        file: that describes them, for the issues.
        issues: gets a line about every object that was changed or dropped.
    """
    found = []
    known: dict[tuple[int, bool, Box, bytes | None], str] = {}
    for item in raw:

        def tell(
            what: str, done: str, severity: Severity = "problem", where: str = item.where
        ) -> None:
            issues.append(Issue(str(file), f"{where}: {what}", done, severity))

        mask = encode_mask(item.segmentation, size, tell)
        box = _sound_box(item, mask, size, tell)
        if box is None:
            continue
        what = item.label, item.crowd, box, mask
        if what in known:
            tell(f"the same class and box as {known[what]}", "dropped, being the same")
            continue
        known[what] = item.where
        _check_size(box, tell)
        area = _area(item, mask, box, size, tell)
        found.append((box, item.label, item.crowd, area, mask))
    boxes, labels, crowd, areas, masks = zip(*found, strict=True) if found else ((), (), (), (), ())
    return Objects(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(crowd, bool),
        np.array(areas, np.float64),
        tuple(masks),
    )


def _sound_box(
    item: RawObject, mask: bytes | None, size: tuple[int, int], tell: Tell
) -> Box | None:
    """The box inside the image, or None where it is dropped."""
    if item.box is not None and (mask is None or not _problem(item.box, size)):
        if mask is not None and (
            what := contradiction(item.box, box_of(mask, size), item.segmentation, size)
        ):
            tell(f"box {as_text(item.box)} {what}", "both are used as they are")
        return clip_box(item.box, size, tell)
    if item.box is not None and mask is not None:
        what = f"box {as_text(item.box)} {_problem(item.box, size)}"
        tell(what, "that of its mask is taken", "note")
        return box_of(mask, size)
    if mask is None:
        tell("has neither a box nor a mask", "dropped")
        return None
    tell("has no box", "that of its mask is taken", "note")
    return box_of(mask, size)


def clip_box(box: Box, size: tuple[int, int], tell: Tell) -> Box | None:
    """A box as far as it lies inside an image of this width and height, or None where it is none.

    What reaches outside by `TOLERANCE` of a side at most is rounding, and clipped without a word.
    """
    (width, height), (left, upper, right, lower) = size, box
    problem = _problem(box, size)
    if problem:
        tell(f"box {as_text(box)} {problem}", "dropped")
        return None
    clipped = max(left, 0.0), max(upper, 0.0), min(right, float(width)), min(lower, float(height))
    over = max((clipped[0] - left) / width, (right - clipped[2]) / width)
    over = max(over, (clipped[1] - upper) / height, (lower - clipped[3]) / height)
    if over > TOLERANCE:
        tell(
            f"box {as_text(box)} reaches outside the image of {width} x {height} pixels", "clipped"
        )
    return clipped


def _problem(box: Box, size: tuple[int, int]) -> str:
    """Return the fault of a box that is dropped for it, "" for none."""
    (width, height), (left, upper, right, lower) = size, box
    if not np.isfinite(box).all():
        return "is not finite"
    if right < left or lower < upper:
        return "is inverted"
    if min(right - left, lower - upper) < SMALLEST:
        return "has no area"
    inside = min(min(right, width) - max(left, 0), min(lower, height) - max(upper, 0))
    return "" if inside >= SMALLEST else f"lies outside the image of {width} x {height} pixels"


def as_text(box: Sequence[float]) -> str:
    """A box for people, to two decimals."""
    return f"[{', '.join(f'{value:.2f}'.rstrip('0').rstrip('.') for value in box)}]"


def _check_size(box: Box, tell: Tell) -> None:
    sides = box[2] - box[0], box[3] - box[1]
    if min(sides) < SMALLEST_LEARNED - ROUNDING:
        tell(
            f"box {as_text(box)} is under a pixel; are these shares of the image's sides?",
            "evaluated, but not learned",
        )


def _area(
    item: RawObject, mask: bytes | None, box: Box, size: tuple[int, int], tell: Tell
) -> float:
    """Return the area that is given, or where it cannot be, that of the mask or the box."""
    number = to_number(item.area) if item.area is not None else math.nan
    whole = item.box if item.box is not None and not _problem(item.box, size) else box
    of_mask = None
    if mask is not None:
        of_mask = float(coco_masks.area({"size": [size[1], size[0]], "counts": mask}))
    whose, own = ("box", (box[2] - box[0]) * (box[3] - box[1]))
    if of_mask is not None:
        whose, own = "mask", of_mask
    if not 0 <= number < math.inf:
        return own
    if wrong_area(number, of_mask, whole):
        tell(
            f"area {number:g} is not that of its {whose}, {own:g}", f"that of its {whose} is taken"
        )
        return own
    return number


def to_number(value: Any) -> float:
    """A number as a float, anything else as NaN."""
    try:
        return float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def to_id(value: Any) -> int | None:
    """A whole number that tells something from others; None for anything else."""
    number = to_number(value)
    if not number.is_integer() or isinstance(value, bool):
        return None
    return value if isinstance(value, int) else int(number)
