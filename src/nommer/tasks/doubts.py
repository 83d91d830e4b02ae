"""Labels that are probably wrong, found by answers of models that did not learn from them.

The estimates are those of the package cleanlab (Apache-2.0), from the extra [data]: confident
learning for classes (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in
Dataset Labels", JAIR 2021), the softmin of the pixels' own probabilities for masks (Lad and
Mueller, 2023), and ObjectLab for boxes (Tkachenko, Thyagarajan and Mueller, 2023).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from torch import Tensor

from nommer.extras import require

FEATURE = "labels that are probably wrong"


@dataclass(frozen=True)
class Doubt:
    """An image, and how its label fits the answer of a model that did not learn from it."""

    file: str
    quality: float
    """From 0 to 1; the lower, the more probably the label is wrong. Ranks; is no probability."""
    label: str
    """As the data have it."""
    answer: str
    """Of the model."""
    wrong: bool | None = None
    """Among those to look at: of each class as many as confident learning estimates to be wrong,
    too many where answers are often wrong themselves; None where no number is estimated."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(vars(self))


def can_doubt() -> bool:
    """Return whether the package that estimates is installed."""
    return find_spec("cleanlab") is not None


def doubts_of_classes(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Doubt]:
    """Return a doubt for each image of one class, the gravest first.

    Args:
        rows: with `file`, `class`, and `probabilities` (classes,).
        names: of the classes.
    """
    label = {name: number for number, name in enumerate(names)}
    given = np.array([label[row["class"]] for row in rows])
    chances = _normalised(rows)
    # the margin to the best other class ranks worse where answers are often wrong (results.md)
    quality = require("cleanlab.rank", "data", FEATURE).get_label_quality_scores(
        given, chances, method="self_confidence"
    )
    finder = require("cleanlab.filter", "data", FEATURE)
    # as many of each class as confident learning estimates, those of the least probability
    wrong = finder.find_label_issues(given, chances, n_jobs=1, filter_by="low_self_confidence")
    answers = [names[int(best)] for best in chances.argmax(1)]
    columns = zip(rows, quality, answers, wrong, strict=True)
    return _ranked(
        Doubt(row["file"], float(q), row["class"], answer, bool(is_wrong))
        for row, q, answer, is_wrong in columns
    )


def doubts_of_multi_label(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Doubt]:
    """Return a doubt for each image of any number of classes, the gravest first.

    Args:
        rows: with `file`, `classes` as names, and `probabilities` (classes,).
        names: of the classes.
    """
    label = {name: number for number, name in enumerate(names)}
    given = [[label[name] for name in row["classes"]] for row in rows]
    chances = np.array([row["probabilities"] for row in rows])
    quality = require(
        "cleanlab.multilabel_classification", "data", FEATURE
    ).get_label_quality_scores(given, chances)
    found = []
    for row, q, chance in zip(rows, quality, chances, strict=True):
        answer = ", ".join(names[int(at)] for at in np.flatnonzero(chance >= 0.5)) or "none"
        found.append(Doubt(row["file"], float(q), ", ".join(row["classes"]) or "none", answer))
    return _ranked(found)


def doubts_of_images(rows: Sequence[Mapping[str, Any]]) -> list[Doubt]:
    """Return a doubt for each image whose label's quality was told, the gravest first."""
    return _ranked(
        Doubt(row["file"], float(row["label_quality"]), row["label"], row["answer"])
        for row in rows
        if row.get("label_quality") is not None
    )


def quality_of_pixels(chances: Tensor, truth: Tensor) -> float | None:
    """Return how well the labels of pixels fit; None without any, or without the package.

    Args:
        chances: (pixels, classes) probabilities.
        truth: (pixels,) classes.
    """
    if not len(truth) or not can_doubt():
        return None
    rank = require("cleanlab.segmentation.rank", "data", FEATURE)
    labels, probabilities = truth.numpy()[None, None], chances.numpy().T[None, :, None]
    scores, _ = rank.get_label_quality_scores(labels, probabilities, verbose=False)
    return float(scores[0])


def quality_of_objects(
    labelled: Sequence[Mapping[str, np.ndarray]], answered: Sequence[Sequence[np.ndarray]]
) -> list[float | None]:
    """Return how well the objects of each image fit; None without the package.

    Args:
        labelled: of each image `bboxes` (n, 4) and `labels` (n,).
        answered: of each image, per class (n, 5) corners and score.
    """
    if not can_doubt():
        return [None] * len(labelled)
    predictions = []
    for image in answered:
        of_image = np.empty(len(image), object)
        of_image[:] = image
        predictions.append(of_image)
    rank = require("cleanlab.object_detection.rank", "data", FEATURE)
    return rank.get_label_quality_scores(list(labelled), predictions, verbose=False).tolist()


def _normalised(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return (images, classes) probabilities, of which rounding took nothing from their sum."""
    chances = np.array([row["probabilities"] for row in rows], np.float64)
    return chances / chances.sum(1, keepdims=True)


def _ranked(doubts: Any) -> list[Doubt]:
    return sorted(doubts, key=lambda doubt: (doubt.quality, doubt.file))
