"""A task's part in decisions: what is found on validation images, and what it is worth on others.

Thresholds, temperatures and a limit to refuse by are found where the best weights are evaluated at
the end of a training, or by `evaluate --calibrate`. Every evaluation tells what they do, and the
interval of its numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from nommer.intervals import RESAMPLES, ends, how_often
from nommer.models.decisions import Decisions
from nommer.tasks.calibration import (
    NEUTRAL,
    Evidence,
    before_and_after,
    find_scaling,
    scaling_of,
)
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.plots import plot_calibration

if TYPE_CHECKING:
    from nommer.tasks.task import Task

FALSE_REFUSALS = 0.05
"""Share of the validation images that are refused, though they show a class."""

_LEAST_FOUND = 10
"""Objects, or images, of a class from which on it gets a threshold of its own."""

_AT_MOST, _AT_LEAST = 10_000_000, 100
"""Draws behind the intervals of an evaluation, and resamples of very many images."""

SEED = 0
"""Of the intervals of evaluations."""


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

    def answers(self, evaluation: Evaluation, model: Any) -> tuple[Any, ...]:
        """Return what is kept of each answer, by the model's decisions."""
        return evaluation.answers

    def told(self, evidence: Any, evaluation: Evaluation, model: Any) -> Mapping[str, Any]:
        """Return more that the decisions do to an evaluation, for JSON and the screen."""
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


@dataclass(frozen=True)
class Decided:
    """An evaluation with decisions, intervals and calibration."""

    evaluation: Evaluation
    facts: dict[str, Any]
    """For the results: "decisions", "calibration" and "intervals"."""
    resampled: Mapping[str, np.ndarray]
    """The numbers that have an interval, in every resampled data set."""


def decide(
    part: TaskDeciding, evidence: Evidence, evaluation: Evaluation, model: Any, data: Any
) -> Decided:
    """Apply a model's decisions to its evaluation, and measure what they do."""
    evaluation = replace(evaluation, answers=part.answers(evaluation, model))
    images = len(evaluation.samples)
    # by the files' order, whatever order classes bring them in: two models are resampled alike
    ranks = np.argsort(np.argsort([str(sample.path) for sample in evaluation.samples]))
    times = how_often(images, seed=SEED, resamples=resamples_for(images))[:, ranks]
    resampled = part.resampled(evaluation, model, data, times)
    intervals = {name: ends(values, images) for name, values in resampled.items()}
    calibration = before_and_after(evidence, model.decisions)
    facts = {
        "decisions": model.decisions.told(),
        "calibration": {**calibration, **part.told(evidence, evaluation, model)},
        "intervals": {name: list(pair) for name, pair in intervals.items() if None not in pair},
    }
    return Decided(evaluation, facts, resampled)


def save_decided(
    task: "Task",
    evaluation: Evaluation,
    model: Any,
    data: Any,
    out: Path,
    *,
    facts: Mapping[str, Any],
) -> Decided:
    """Write an evaluation with what the model's decisions do to it into `out`."""
    part = task.deciding
    if part is None:
        task.results.save_evaluation(evaluation, model, data, out, facts=facts)
        return Decided(evaluation, {}, {})
    evidence = part.evidence(evaluation, model)
    decided = decide(part, evidence, evaluation, model, data)
    told = {**facts, **decided.facts}
    task.results.save_evaluation(decided.evaluation, model, data, out, facts=told)
    part.draw(evidence, model, out)
    return decided


def find_decisions(task: "Task", evaluation: Evaluation, model: Any) -> Decisions:
    """Find a model's decisions on the images of an evaluation."""
    part = task.deciding
    if part is None:
        return Decisions()
    evidence = part.evidence(evaluation, model)
    found = Decisions(images=len(evaluation.samples), **find_scaling(evidence))
    return replace(
        found,
        **part.thresholds(evidence, evaluation, model, scaling_of(found)),
        **part.refusal(evaluation, model),
    )


def resamples_for(images: int) -> int:
    """Return how many data sets are drawn: fewer of many images, whose intervals are narrow."""
    return max(_AT_LEAST, min(RESAMPLES, _AT_MOST // max(1, images)))
