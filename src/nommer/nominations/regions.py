"""Parts of an image: classes, objects, distance to a border, size; a group per pixel.

A map of groups holds the index of each pixel's group, or `OUTSIDE` where a pixel counts for none.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt, label

OUTSIDE = -1
"""The group of a pixel that counts for none."""

SIZES = ("small", "medium", "large")
"""Under 32 x 32 pixels, under 96 x 96, and larger, in pixels of the image file, as COCO has it."""

_SIZE_LIMITS = np.array([32**2, 96**2])

_DISTANCES = (1, 2, 4, 8)
"""Ends of the bins of distance, in tokens of the finest grid."""

DISTANCES = ("under 1", "1 to 2", "2 to 4", "4 to 8", "8 and more")
"""Distances from a border, in tokens of the finest grid."""

SIDED_DISTANCES = (
    *(f"inside, {name}" for name in DISTANCES),
    *(f"outside, {name}" for name in DISTANCES),
)

PARTS = ("objects", "background")


def size_group(area: np.ndarray) -> np.ndarray:
    """Index into `SIZES` of areas in square pixels."""
    return np.searchsorted(_SIZE_LIMITS, area, side="right")


def border_distance(parts: np.ndarray) -> np.ndarray:
    """Measure the distance of each pixel's centre to the nearest border, infinite without one.

    Args:
        parts: (H, W) int; `OUTSIDE` makes no border.
    """
    border = np.zeros(parts.shape, bool)
    for axis in (0, 1):
        first, second = np.moveaxis(parts, axis, 0)[:-1], np.moveaxis(parts, axis, 0)[1:]
        differs = (first != second) & (first != OUTSIDE) & (second != OUTSIDE)
        moved = np.moveaxis(border, axis, 0)
        moved[:-1] |= differs
        moved[1:] |= differs
    if not border.any():
        return np.full(parts.shape, np.inf)
    return distance_transform_edt(~border) + 0.5


def distance_group(distance: np.ndarray, token: float) -> np.ndarray:
    """Return the index into `DISTANCES` of distances in pixels, with tokens of `token` pixels.

    `OUTSIDE` where there is no border that a pixel could be far from.
    """
    groups = np.searchsorted(np.array(_DISTANCES) * token, distance, side="right")
    return np.where(np.isfinite(distance), groups, OUTSIDE)


def class_regions(labels: np.ndarray) -> np.ndarray:
    """Return the index into `SIZES` (H, W) of the region of its class that a pixel lies in.

    Regions are connected by sides.

    Args:
        labels: (H, W) class indices, or `OUTSIDE`.
    """
    sizes = np.full(labels.shape, OUTSIDE)
    for value in np.unique(labels[labels != OUTSIDE]):
        pieces, count = label(labels == value)
        areas = np.bincount(pieces.ravel(), minlength=count + 1)
        inside = pieces > 0
        sizes[inside] = size_group(areas)[pieces[inside]]
    return sizes


def object_map(
    inside: Callable[[int], np.ndarray], areas: np.ndarray, crowd: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """(H, W) which object each pixel belongs to, the smallest where several overlap.

    Args:
        inside: where the object of an index is, (H, W) bool; asked for one after the other, so that
            there need never be two of them.
        areas: (n,) of the objects, in square pixels.
        crowd: (n,) bool, which of them are many that are not told apart: of no group, unless it is
            an object's.
        size: (H, W).

    Returns:
        The index of an object; their number n for the background; `OUTSIDE` in crowds.
    """
    owner = np.full(size, len(areas), np.int32)
    for index in np.flatnonzero(crowd):
        owner[inside(int(index))] = OUTSIDE
    for index in sorted(np.flatnonzero(~crowd), key=lambda index: -areas[index]):
        owner[inside(int(index))] = index
    return owner


def sided_distance_group(owner: np.ndarray, num_objects: int, token: float) -> np.ndarray:
    """Index into `SIDED_DISTANCES` of every pixel of an `object_map`."""
    group = distance_group(border_distance(owner), token)
    known = (owner != OUTSIDE) & (group != OUTSIDE)
    return np.where(known, np.where(owner == num_objects, group + len(DISTANCES), group), OUTSIDE)


def look_up(owner: np.ndarray, groups: Sequence[int]) -> np.ndarray:
    """Return each pixel's group, that of an object or the background; `OUTSIDE` in crowds."""
    return np.array([*groups, OUTSIDE])[owner]  # OUTSIDE is -1, which is the last
