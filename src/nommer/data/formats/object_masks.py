"""Masks of objects as data sets write them, polygons or run lengths, and the one form they get.

COCO's run lengths.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_masks

TOLERANCE = 1e-3
"""Share of the image's side by which rounding may put a box or polygon outside, unlisted."""

_FAR = 1e9
"""Largest distance of a point in pixels, so that sums stay finite."""

_SMALLEST_AREA = 1e-6
"""Of a polygon, in square pixels."""


def encode_mask(
    segmentation: Any, size: tuple[int, int], tell: Callable[[str, str], None]
) -> bytes | None:
    """The compressed run lengths of a mask, or None where there is none (left).

    Args:
        segmentation: polygons, [[x, y, x, y, ...], ...] in pixels, or run lengths, {"size":
            [height, width], "counts": list or text}; empty or None for no mask.
        size: width and height of the image in pixels.
        tell: takes what was found amiss and what was done about it.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return _check_runs(segmentation, size, tell)
    if isinstance(segmentation, list) and all(isinstance(part, dict) for part in segmentation):
        return _merge_runs(segmentation, size, tell)
    if not isinstance(segmentation, list):
        tell(
            f"its segmentation is {type(segmentation).__name__}, expected polygons or run lengths",
            "mask dropped",
        )
        return None
    return _draw_polygons(segmentation, size, tell)


def _draw_polygons(
    segmentation: list[Any], size: tuple[int, int], tell: Callable[[str, str], None]
) -> bytes | None:
    """Return the mask of polygons, which may be one without the outer list, or lists of [x, y]."""
    alone = all(isinstance(part, int | float) for part in segmentation)
    polygons = [segmentation] if alone or _are_points(segmentation) else segmentation
    flat = [
        [value for point in part for value in point] if _are_points(part) else part
        for part in polygons
    ]
    parts = [_sound_polygon(part, number, size, tell) for number, part in enumerate(flat, start=1)]
    kept = [part for part in parts if part is not None]
    if not kept:
        return None
    width, height = size
    merged = coco_masks.merge(coco_masks.frPyObjects(kept, height, width))
    if not coco_masks.area(merged):
        tell("its mask covers no pixel", "mask dropped")
        return None
    return merged["counts"]


def _are_points(part: Any) -> bool:
    """Tell if a polygon is a list of [x, y]."""
    return (
        isinstance(part, list)
        and len(part) > 2
        and all(
            isinstance(point, list)
            and len(point) == 2
            and all(isinstance(value, int | float) for value in point)
            for point in part
        )
    )


def _merge_runs(
    parts: list[dict[str, Any]], size: tuple[int, int], tell: Callable[[str, str], None]
) -> bytes | None:
    """Return one mask of several that are run lengths each, as Detectron's JSON has them."""
    found = [_check_runs(part, size, tell) for part in parts]
    coded = [{"size": [size[1], size[0]], "counts": counts} for counts in found if counts]
    return coco_masks.merge(coded)["counts"] if coded else None


def _check_runs(
    runs: dict[str, Any], size: tuple[int, int], tell: Callable[[str, str], None]
) -> bytes | None:
    expected = [size[1], size[0]]
    if runs.get("size") != expected:
        tell(
            f"its mask has the size {runs.get('size')}, its image {expected} (height, width)",
            "mask dropped",
        )
        return None
    try:
        counts = runs["counts"]
        coded = (
            coco_masks.frPyObjects(runs, *expected)["counts"]
            if isinstance(counts, list)
            else counts
        )
        coded = coded.encode("ascii") if isinstance(coded, str) else coded
        covered = bool(coco_masks.decode({"size": expected, "counts": coded}).any())
    except Exception as error:  # whatever the counts make the decoder do
        tell(f"its mask cannot be read: {' '.join(str(error).split())}", "mask dropped")
        return None
    if not covered:
        tell("its mask covers no pixel", "mask dropped")
        return None
    return coded


def _sound_polygon(
    part: Any, number: int, size: tuple[int, int], tell: Callable[[str, str], None]
) -> list[float] | None:
    """A polygon's coordinates, cut where it reaches outside the image, or None where it is none."""
    points = _points(part)
    if isinstance(points, str):
        problem = points
    else:
        is_inside = (np.abs(points - points.clip(0, size)) / size).max() <= TOLERANCE
        clipped = points if is_inside else _cut(points.clip(-_FAR, _FAR), size)
        if area(clipped) >= _SMALLEST_AREA:
            if clipped is not points:
                tell(
                    f"polygon {number} reaches outside the image of {size[0]} x {size[1]} pixels",
                    "clipped",
                )
            return clipped.ravel().tolist()
        problem = "has no area" if clipped is points else "lies outside the image"
    tell(f"polygon {number} {problem}", "polygon dropped")
    return None


def _points(part: Any) -> np.ndarray | str:
    """The (n, 2) corners of a polygon, or what is wrong with it."""
    if not isinstance(part, list) or not set(map(type, part)) <= {int, float}:
        return "is no list of numbers"
    if len(part) % 2:
        return f"has an odd number of coordinates, {len(part)}"
    if len(part) < 6:
        return f"has {len(part) // 2} points, expected 3 or more"
    try:
        points = np.array(part, np.float64).reshape(-1, 2)
    except OverflowError:  # an integer that no float holds
        points = np.array([np.inf])
    return points if np.isfinite(points).all() else "has coordinates that are not finite"


def _cut(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the (m, 2) corners of a polygon inside the image, cut border by border.

    After Sutherland and Hodgman, "Reentrant polygon clipping", 1974. Parts that a border separates
    stay connected, by lines along it that enclose nothing; m is 0 where nothing lies inside.
    """
    for axis, sign, border in ((0, 1, 0), (1, 1, 0), (0, -1, size[0]), (1, -1, size[1])):
        depth = sign * (points[:, axis] - border)
        following, depth_of_following = np.roll(points, -1, axis=0), np.roll(depth, -1)
        crosses = (depth >= 0) != (depth_of_following >= 0)
        share = np.divide(
            depth, depth - depth_of_following, out=np.zeros_like(depth), where=crosses
        )
        crossings = points + share[:, None] * (following - points)
        crossings[:, axis] = border
        points = np.stack([points, crossings], 1)[np.stack([depth >= 0, crosses], 1)]
    return points


def area(points: np.ndarray) -> float:
    """Of the polygon through (n, 2) points, in square pixels.

    One that crosses itself may have none.
    """
    x, y = (points - points[:1]).T
    return abs(float(x[:-1] @ y[1:] - x[1:] @ y[:-1])) / 2


def box_of(counts: bytes, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return left, upper, right and lower end of a mask's pixels; `size` is (width, height)."""
    left, upper, width, height = coco_masks.toBbox(
        {"size": [size[1], size[0]], "counts": counts}
    ).tolist()
    return left, upper, left + width, upper + height


def encode_map(values: np.ndarray) -> list[bytes]:
    """Return the run lengths of each number but 0 in an (H, W) map, in their order.

    All runs are found in one pass, column by column as COCO counts; a run of one number ends the
    run of another.
    """
    pixels = values.T.ravel()
    starts = (
        np.flatnonzero(np.r_[True, pixels[1:] != pixels[:-1]])
        if pixels.size
        else np.zeros(0, np.int64)
    )
    ends = np.append(starts[1:], pixels.size)
    order = np.argsort(pixels[starts], kind="stable")
    order = order[pixels[starts][order] != 0]
    bounds = np.flatnonzero(np.diff(pixels[starts][order])) + 1
    return [
        _encode_runs(starts[runs], ends[runs], values.shape)
        for runs in np.split(order, bounds)
        if len(runs)
    ]


def _encode_runs(starts: np.ndarray, ends: np.ndarray, shape: tuple[int, ...]) -> bytes:
    """Return the lengths of gaps and runs in turn, from where the runs start and end."""
    edges = np.concatenate([[0], np.column_stack([starts, ends]).ravel(), [shape[0] * shape[1]]])
    return coco_masks.frPyObjects({"size": list(shape), "counts": np.diff(edges).tolist()}, *shape)[
        "counts"
    ]
