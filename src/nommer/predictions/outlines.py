"""Outlines of masks, along the sides of their pixels."""

from collections import defaultdict

import numpy as np

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Of rows and columns, each a turn to the right of the one before."""


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Return the closed outlines of a mask (H, W), the largest first.

    Each is (points, 2): x and y of its corners, whole numbers from 0 to W and to H. Filling it
    gives the pixels back. Pixels that touch at a corner only are apart, holes have outlines too.
    """
    heads = _edges(mask.astype(bool))
    found = []
    while heads:
        # where two outlines touch, the first return need not be the end
        simple = (corner for corner, steps in heads.items() if len(steps) == 1)
        found.append(_follow(heads, next(simple, next(iter(heads)))))
    return sorted(found, key=lambda points: -abs(_area(points)))


def _edges(mask: np.ndarray) -> dict[tuple[int, int], list[int]]:
    """The steps that lead away from every corner, with the mask on the right."""
    inside = np.pad(mask, 1)
    above, left = inside[:-1, 1:-1], inside[1:-1, :-1]
    below, right = inside[1:, 1:-1], inside[1:-1, 1:]
    heads: dict[tuple[int, int], list[int]] = defaultdict(list)
    starts = (
        (0, below & ~above, 0, 0),
        (1, left & ~right, 0, 0),
        (2, above & ~below, 0, 1),
        (3, right & ~left, 1, 0),
    )
    for step, edges, down, across in starts:
        for row, column in zip(*(np.nonzero(edges)), strict=True):
            heads[int(row) + down, int(column) + across].append(step)
    return heads


def _follow(heads: dict[tuple[int, int], list[int]], start: tuple[int, int]) -> np.ndarray:
    """Walk along the edges from a corner until it is reached again, and take them away."""
    corners: list[tuple[int, int]] = []
    before, at = -1, start
    while True:
        steps = heads[at]
        # the sharpest turn to the right keeps pixels apart that touch at this corner
        step = min(steps, key=lambda one: (before + 1 - one) % 4)
        steps.remove(step)
        if not steps:
            del heads[at]
        if step != before:
            corners.append((at[1], at[0]))
        at, before = (at[0] + _STEPS[step][0], at[1] + _STEPS[step][1]), step
        if at == start:
            return np.array(corners)


def _area(points: np.ndarray) -> float:
    """Return the area inside; that of a hole is negative."""
    x, y = points[:, 0].astype(float), points[:, 1].astype(float)
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
