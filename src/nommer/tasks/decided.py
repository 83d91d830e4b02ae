"""Evaluations with what the decisions of a model do to them, and the intervals of their numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nommer.intervals import RESAMPLES, how_often
from nommer.models.decisions import Decisions
from nommer.tasks.calibration import (
    NEUTRAL,
    Evidence,
    before_and_after,
    find_scaling,
    scaling_of,
)
from nommer.tasks.deciding import TaskDeciding
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.resampled_calibration import calibration_intervals, intervals_of
from nommer.tasks.task import Task

_AT_MOST, _AT_LEAST = 10_000_000, 100
"""Draws behind the intervals of an evaluation, and resamples of very many images."""

SEED = 0
"""Of the intervals of evaluations."""


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
    facts = {
        "decisions": model.decisions.told(),
        "calibration": _calibration(part, evidence, evaluation, model, times),
        "intervals": intervals_of(resampled, images),
    }
    return Decided(evaluation, facts, resampled)


def _calibration(
    part: TaskDeciding, evidence: Evidence, evaluation: Evaluation, model: Any, times: np.ndarray
) -> dict[str, Any]:
    """Return what the decisions do to an evaluation, with the intervals of these numbers."""
    told = {
        **before_and_after(evidence, model.decisions),
        **part.told(evidence, evaluation, model, times),
    }
    if not len(evidence):
        return told
    scaling = scaling_of(model.decisions)
    ranges = calibration_intervals(evidence, NEUTRAL, scaling, times)
    return told | {"intervals": {**ranges, **told.get("intervals", {})}}


def save_decided(
    task: Task,
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


def find_decisions(task: Task, evaluation: Evaluation, model: Any) -> Decisions:
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
