"""Boxes, masks and areas of one object that contradict each other."""

import math
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_masks

SMALLEST_LEARNED = 1.0
"""Least width and height of a box in pixels that training takes; rounding is allowed for."""

_SLACK, _SLACK_SHARE = 3.0, 0.15
"""By how many pixels, or how much of its longer side, a box may differ from its mask."""

_LARGEST_SHARE, _SMALLEST_SHARE = 1.05, 0.01
"""Of its box, which an object's area may be."""

Box = tuple[float, float, float, float]


def contradiction(box: Box, mask_box: Box, segmentation: Any, size: tuple[int, int]) -> str:
    """Return how a box and the box of its mask differ, with the likely cause; "" where they fit.

    Args:
        box: left, upper, right and lower end as the data give them, in pixels.
        mask_box: that of the mask's pixels.
        segmentation: the mask as the data give it.
        size: width and height of the image in pixels.
    """
    if _fits(box, mask_box):
        return ""
    left, upper, right, lower = box
    width, height = right - left, lower - upper
    around = left - width / 2, upper - height / 2, left + width / 2, upper + height / 2
    cause = ""
    if _fits((left, upper, width, height), mask_box):
        cause = "; are these corners, where width and height belong?"
    elif _fits(around, mask_box):
        cause = "; is this the centre, where the upper left corner belongs?"
    elif isinstance(segmentation, dict) and _fits(box, _box_row_by_row(segmentation, size)):
        cause = "; are its run lengths row by row? COCO counts column by column"
    return f"does not fit its mask, which spans {_as_text(mask_box)}{cause}"


def _fits(box: Box, other: Box) -> bool:
    sides = other[2] - other[0], other[3] - other[1]
    return max(abs(a - b) for a, b in zip(box, other, strict=True)) <= max(
        _SLACK, _SLACK_SHARE * max(sides)
    )


def _box_row_by_row(runs: dict[str, Any], size: tuple[int, int]) -> Box:
    """Return the box of a mask whose run lengths are read row by row."""
    width, height = size
    counts = runs["counts"]
    coded = coco_masks.frPyObjects(runs, height, width) if isinstance(counts, list) else runs
    pixels = coco_masks.decode(coded).T.reshape(height, width)
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def wrong_area(given: float, of_mask: float | None, box: Box) -> bool:
    """Tell if an area cannot be that of an object with this mask, or of one in this box."""
    of_box = (box[2] - box[0]) * (box[3] - box[1])
    if not 0 <= given < math.inf:
        return False  # no area is given, and none is told
    if of_mask is not None and of_mask > _SLACK**2:
        return not 0.5 * of_mask <= given <= 2 * of_mask + _SLACK * (math.sqrt(of_mask) + 1)
    return not _SMALLEST_SHARE * of_box < given <= _LARGEST_SHARE * of_box + _SLACK**2


def _as_text(box: Box) -> str:
    return f"[{', '.join(f'{value:g}' for value in box)}]"
