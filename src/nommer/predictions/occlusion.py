"""Attribution to parts of an image by hiding them: it asks any model, and only for answers.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014; for
objects as D-RISE compares them: Petsiuk et al., "Black-box Explanation of Object Detectors via
Saliency Maps", CVPR 2021.
"""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from nommer.predictions.answer import Answer
from nommer.predictions.classification import Classification
from nommer.predictions.detection import Detections
from nommer.predictions.segmentation import Segmentation

CELLS = 8
"""Cells along a side, each of which is hidden once."""

_BATCH = 8


def occlusion(
    image: Image.Image,
    before: Answer,
    answer: Callable[[Sequence[Image.Image]], Sequence[Answer]],
    *,
    cells: int = CELLS,
) -> np.ndarray:
    """Return the fall of the answer where each cell is hidden, (cells, cells) float32.

    Of a classifier that is the probability of the class answered, of a segmenter the share of its
    pixels elsewhere that keep their class, of a detector the score times overlap of what is found
    again, mean of the objects.

    Args:
        image: in RGB.
        before: the answer to it.
        answer: to images.
        cells: along each side.
    """
    boxes = [_box(image.size, index, cells) for index in range(cells**2)]
    whole, falls = _kept(before, before, None), []
    for start in range(0, len(boxes), _BATCH):
        part = boxes[start : start + _BATCH]
        answers = answer([_without(image, box) for box in part])
        falls += [
            whole - _kept(before, after, box) for after, box in zip(answers, part, strict=True)
        ]
    return np.array(falls, np.float32).reshape(cells, cells)


def target_of(answer: Answer) -> str:
    """Return what is attributed, in words."""
    if isinstance(answer, Classification):
        return f"the probability of {answer.name}"
    if isinstance(answer, Segmentation):
        return f"the pixels of {next(iter(answer.shares))}"
    return "the scores of all objects found"


def _box(size: tuple[int, int], index: int, cells: int) -> tuple[int, int, int, int]:
    row, column = divmod(index, cells)
    xs, ys = ([side * i // cells for i in range(cells + 1)] for side in size)
    return xs[column], ys[row], xs[column + 1], ys[row + 1]


def _without(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    hidden = image.copy()
    mean = np.asarray(image).reshape(-1, 3).mean(0).round().astype(int).tolist()
    hidden.paste((mean[0], mean[1], mean[2]), box)
    return hidden


def _kept(before: Answer, after: Answer, box: tuple[int, int, int, int] | None) -> float:
    """Return how much of an answer is left, 0 to 1."""
    if isinstance(before, Classification) and isinstance(after, Classification):
        return after.probabilities[before.label]
    if isinstance(before, Segmentation) and isinstance(after, Segmentation):
        same = (before.labels == after.labels).astype(float)
        if box is not None:
            same[box[1] : box[3], box[0] : box[2]] = np.nan
        return float(np.nanmean(same)) if not np.isnan(same).all() else 1.0
    if isinstance(before, Detections) and isinstance(after, Detections):
        return _found_again(before, after)
    return 0.0


def _found_again(before: Detections, after: Detections) -> float:
    """Return the mean over objects of the best score times overlap of one of their class."""
    if not len(before):
        return 0.0
    if not len(after):
        return 0.0
    first, second = before.boxes[:, None], after.boxes[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(
        first[..., :2], second[..., :2]
    )
    shared = sides.clip(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (first, second)]
    overlap = shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)
    same = before.labels[:, None] == after.labels[None]
    return float((overlap * same * after.scores[None]).max(1).mean())
