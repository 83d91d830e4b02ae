"""Effects of interventions: the task's metric and answers, were other contexts nominated."""

import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from nommer.backbone.contexts import CONTEXTS
from nommer.inference.evaluation import Opened
from nommer.intervals import ends, how_often, mean_with_interval
from nommer.nominations.intervention import KINDS, intervene
from nommer.nominations.trace import nominator_blocks
from nommer.progress import track
from nommer.settings.evaluate import EvaluateSettings
from nommer.studies.partial import PartialIntervention, PartsSeen
from nommer.studies.pattern import Rows
from nommer.tasks.data import Data
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.studying import AnswerChange, Part

ALL_BLOCKS = "all blocks"
AS_IT_IS = "as it is"

EVERYWHERE = "everywhere"


def draw_images(data: Data, most: int, *, seed: int) -> Data:
    """At most so many samples of `data`, drawn by `seed`, in their order."""
    total = len(data.samples())
    if total <= most:
        return data
    chosen, numbers = set(random.Random(seed).sample(range(total), most)), count()  # noqa: S311 - no secret
    splits = {
        split: tuple(s for s in part if next(numbers) in chosen)
        for split, part in data.splits.items()
    }
    return replace(data, splits=splits)


class Comparison:
    """The rows of a table of evaluations: each one's measures, and its changes from the first.

    Args:
        changes: the task's own, which looks on at every evaluation.
        measure: the task's own, whose change is looked at.
        seed: of the intervals.
    """

    def __init__(self, changes: AnswerChange, *, measure: str, seed: int) -> None:
        self.changes, self.measure, self.seed = changes, measure, seed
        self.first: Evaluation | None = None
        self._first_resampled: Mapping[str, np.ndarray] = {}

    def compare(self, evaluation: Evaluation) -> dict[str, float | None]:
        """Return measures and changes, each with its interval where there is one."""
        images, numbers = len(evaluation.samples), evaluation.report.summary()
        resampled = self.changes.resampled(evaluation, how_often(images, seed=self.seed))
        found: dict[str, float | None] = {}
        for name, values in resampled.items():
            found |= _with_ends(name, numbers[name], values, images)
        if self.first is None:
            self.first, self._first_resampled = evaluation, resampled
            return found
        before, after = (of.report.summary()[self.measure] for of in (self.first, evaluation))
        change = None if None in (before, after) else after - before
        # paired: the same drawn images before and after
        changed = resampled[self.measure] - self._first_resampled[self.measure]
        found |= _with_ends("change", change, changed, images)
        for name, value in self.changes.difference(self.first, evaluation).items():
            found |= self._named(name, value) if isinstance(value, np.ndarray) else {name: value}
        return found

    def _named(self, name: str, values: np.ndarray) -> dict[str, float | None]:
        """Return a mean over images and its interval as columns."""
        mean, low, high = mean_with_interval(values, seed=self.seed)
        return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _with_ends(
    name: str, value: float | None, resampled: np.ndarray, images: int
) -> dict[str, float | None]:
    low, high = (None, None) if value is None else ends(resampled, images)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


@dataclass(frozen=True)
class Intervention:
    """An intervention on one block, or all, everywhere or in one part of every image."""

    block: str
    kind: str
    part: Part | None = None


def possible_interventions(model: Any, parts: Sequence[Part] = ()) -> list[Intervention]:
    """Return all interventions: on every block, on all, and on all in each of the parts."""
    blocks = nominator_blocks(model)
    shared = [
        context
        for context in CONTEXTS
        if all(context in module.contexts for module in blocks.values())
    ]
    has = {**{name: module.contexts for name, module in blocks.items()}, ALL_BLOCKS: shared}
    places: list[tuple[str, Part | None]] = [
        *((block, None) for block in has),
        *((ALL_BLOCKS, part) for part in parts),
    ]
    return [
        Intervention(block, kind, part)
        for block, part in places
        for kind in KINDS
        if kind not in CONTEXTS or kind in has[block]
    ]


@dataclass(frozen=True)
class Effects:
    """Answers under interventions, and the reason why something is absent."""

    rows: Rows
    absent: dict[str, str]


def measure_effects(
    opened: Opened, data: Data, settings: EvaluateSettings, out: Path, *, seed: int
) -> Effects:
    """Return a row for the model as it is, and one per intervention: metric, change, answers.

    Args:
        opened: the model.
        data: to be evaluated on, again and again.
        settings: how.
        out: a folder that nothing is written to.
        seed: of chance, and of the intervals.
    """
    study = opened.task.study()
    changes, seen = study.changes(), PartsSeen(opened.model, study.regions(opened.model))
    table = Comparison(changes, measure=opened.task.module.measure, seed=seed)
    as_it_is = opened.evaluate(data, settings, out, callbacks=[changes, seen])
    rows = [_row(None, table.compare(as_it_is))]
    jobs = possible_interventions(opened.model, seen.parts)
    for job in track(jobs, total=len(jobs), what="evaluating interventions"):
        within = (
            [] if job.part is None else [PartialIntervention(seen, job.kind, job.part, seed=seed)]
        )
        with _applied(opened.model, job, seed):
            evaluation = opened.evaluate(data, settings, out, callbacks=[changes, *within])
        rows.append(_row(job, table.compare(evaluation), seen.shares))
    return Effects(rows, {} if seen.parts else {"parts": seen.why_not})


def _applied(model: Any, job: Intervention, seed: int) -> AbstractContextManager[None]:
    if job.part is not None:
        return nullcontext()
    blocks: Sequence[str] | None = None if job.block == ALL_BLOCKS else [job.block]
    return intervene(model, job.kind, blocks=blocks, seed=seed)


def _row(
    job: Intervention | None,
    numbers: Mapping[str, float | None],
    shares: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    if job is None:
        return {"block": AS_IT_IS, "part": EVERYWHERE, "intervention": "none", **numbers}
    part = EVERYWHERE if job.part is None else job.part.name
    share = {} if job.part is None or shares is None else {"share_of_pixels": shares[part]}
    return {"block": job.block, "part": part, "intervention": job.kind, **numbers, **share}
