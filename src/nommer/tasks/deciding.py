"""A task's part in decisions: what is found on validation images, and what it is worth on others.

Thresholds, temperatures and a limit to refuse by are found where the best weights are evaluated at
the end of a training, or by `evaluate --calibrate`. Every evaluation tells what they do, and the
interval of its numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from nommer.tasks.calibration import (
    NEUTRAL,
    Evidence,
    risk_coverage,
    scaling_of,
)
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.plots import plot_calibration, plot_risk_coverage
from nommer.tasks.resampled_calibration import intervals_of, resampled_risks

FALSE_REFUSALS = 0.05
"""Share of the validation images that are refused, though they show a class."""

COVERAGES = (0.25, 0.5, 0.75, 1.0)
"""Shares of images, or of pixels, at which the risk is told."""

_LEAST_FOUND = 10
"""Objects, or images, of a class from which on it gets a threshold of its own."""


class Best(NamedTuple):
    """The threshold of the best F1."""

    threshold: float | None
    """None where there is nothing to find."""
    f1: float | None


def best_f1(scores: np.ndarray, found: np.ndarray, wanted: int) -> Best:
    """Return the least score from which on answers give the best F1.

    Args:
        scores: (n,) of answers.
        found: (n,) bool: the answer is right, and no other one is right for the same.
        wanted: how many there are to find.
    """
    if not len(scores) or not wanted:
        return Best(None, None)
    order = np.argsort(-scores, kind="stable")
    falling, finds = scores[order], found[order].cumsum()
    f1 = 2 * finds / (np.arange(1, len(finds) + 1) + wanted)
    last = np.append(falling[1:] != falling[:-1], True)  # of equal scores all are answered
    best = int(np.where(last, f1, -1).argmax())
    return Best(float(falling[best]), float(f1[best]))


def class_thresholds(of_classes: list[tuple[Best, int]], of_all: float) -> tuple[float, ...]:
    """Return the threshold of each class; that of all for a class with few to find.

    Args:
        of_classes: the best of each, and how many there are to find.
        of_all: threshold of all classes together.
    """
    return tuple(
        of_all if best.threshold is None or wanted < _LEAST_FOUND else best.threshold
        for best, wanted in of_classes
    )


class TaskDeciding(ABC):
    """A task's part in decisions.

    What `evidence` returns is handed to whatever else needs it, for it may take long.
    """

    @abstractmethod
    def evidence(self, evaluation: Evaluation, model: Any) -> Evidence:
        """Return the scores of an evaluation before any temperature, with the truth."""

    def thresholds(
        self, evidence: Any, evaluation: Evaluation, model: Any, scaling: Tensor
    ) -> Mapping[str, Any]:
        """Return fields of `Decisions`: thresholds of scores that are scaled so."""
        return {}

    def refusal(self, evaluation: Evaluation, model: Any) -> Mapping[str, Any]:
        """Return fields of `Decisions`: when an image is refused."""
        return {}

    def of_folds(
        self, rows: Sequence[Mapping[str, Any]], names: Sequence[str]
    ) -> Mapping[str, Any]:
        """Return fields of `Decisions` for all folds as one, by their answers out of fold.

        Where nothing is returned the folds' own thresholds are averaged.

        Args:
            rows: what `TaskResults.held_out` tells of every image, of all folds.
            names: the classes.
        """
        return {}

    def answers(self, evaluation: Evaluation, model: Any) -> tuple[Any, ...]:
        """Return what is kept of each answer, by the model's decisions."""
        return evaluation.answers

    def told(
        self, evidence: Any, evaluation: Evaluation, model: Any, times: np.ndarray
    ) -> Mapping[str, Any]:
        """Return more that the decisions do to an evaluation, for JSON and the screen.

        Under "intervals" those of these numbers; for the arguments see `resampled`.
        """
        return {}

    def draw(self, evidence: Any, model: Any, out: Path) -> None:
        """Draw a reliability diagram, before and after."""
        if not len(evidence):
            return
        pairs = {"as it is": evidence.answers(NEUTRAL)}
        if model.decisions.temperatures:
            pairs["calibrated"] = evidence.answers(scaling_of(model.decisions))
        plot_calibration(pairs, out / "calibration.png", unit=evidence.unit)

    @abstractmethod
    def resampled(
        self, evaluation: Evaluation, model: Any, data: Any, times: np.ndarray
    ) -> Mapping[str, np.ndarray]:
        """Return the main numbers of the report in every resampled data set, (resamples,) each.

        Args:
            evaluation: of all images.
            model: that was evaluated.
            data: that it was evaluated on.
            times: (resamples, images) int64: how often each data set holds each image.
        """


class OneAnswerDeciding(TaskDeciding):
    """Of tasks in which an image, or a pixel, gets one class: how far the surest are right."""

    def told(
        self, evidence: Any, evaluation: Evaluation, model: Any, times: np.ndarray
    ) -> Mapping[str, Any]:
        """Return the risk at some coverages, and the area under that curve.

        The area before calibration, too, for a temperature may change which answers are surest.
        """
        if not len(evidence):
            return {}
        scaling, names = scaling_of(model.decisions), [f"{share:.0%}" for share in COVERAGES]
        risk, area = _risks(evidence, scaling)
        places = [max(1, round(share * len(risk))) - 1 for share in COVERAGES]
        drawn, areas = resampled_risks(evidence, scaling, times, COVERAGES)
        at_coverage = dict(zip(names, drawn.T, strict=True))
        return {
            "risk_at_coverage": {n: float(risk[at]) for n, at in zip(names, places, strict=True)},
            "aurc": area,
            "aurc_before": _risks(evidence, NEUTRAL)[1],
            "intervals": {
                "risk_at_coverage": intervals_of(at_coverage, times.shape[1]),
                **intervals_of({"aurc": areas}, times.shape[1]),
            },
        }

    def draw(self, evidence: Any, model: Any, out: Path) -> None:
        """Draw a reliability diagram, and risk over coverage."""
        super().draw(evidence, model, out)
        if len(evidence):
            picture = out / "risk_coverage.png"
            risk, area = _risks(evidence, scaling_of(model.decisions))
            plot_risk_coverage(risk, area, picture, unit=evidence.unit)


def _risks(evidence: Any, scaling: Tensor) -> tuple[np.ndarray, float]:
    confidence, right = evidence.answers(scaling)
    return risk_coverage(confidence.numpy(), right.numpy())
