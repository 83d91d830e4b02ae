"""Does it matter what is nominated: the task's own numbers and answers, were other contexts nominated."""

import random
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from scipy.stats import bootstrap

from nommer.backbone.contexts import CONTEXTS
from nommer.engine.detection_metrics import ImageAnswer, match
from nommer.engine.evaluation import EvaluationSettings, Opened
from nommer.engine.study_pattern import Rows
from nommer.engine.workflow import Data, Judgement
from nommer.nominations.images import SURE
from nommer.nominations.intervention import KINDS, intervene
from nommer.nominations.trace import nominator_blocks
from nommer.progress import track

ALL_BLOCKS = "all blocks"
AS_IT_IS = "as it is"

_RESAMPLES = 1000

_AT_A_TIME = 2**20
"""Values that are drawn at a time."""


def draw_images(data: Data, most: int, *, seed: int) -> Data:
    """At most so many samples of `data`, drawn by `seed`, in their order."""
    total = len(data.samples())
    if total <= most:
        return data
    chosen, numbers = set(random.Random(seed).sample(range(total), most)), count()  # noqa: S311 - no secret
    splits = {split: tuple(s for s in part if next(numbers) in chosen) for split, part in data.splits.items()}
    return replace(data, splits=splits)


def mean_with_interval(values: np.ndarray, *, seed: int) -> tuple[float, float | None, float | None]:
    """The mean of one value per image with its 95 % interval (bootstrap over images), which one image has not."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None, None
    if (values == values[0]).all():
        return mean, mean, mean
    drawn = bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _AT_A_TIME // len(values)),
        method="percentile",
        rng=seed,
    )
    return mean, float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


class AnswerChange(L.Callback):
    """How answers differ from those of the first judgement that it looks on at, in the way of one task."""

    def __init__(self, *, seed: int) -> None:
        self.seed = seed
        self.first: Judgement | None = None

    def compare(self, judgement: Judgement) -> dict[str, float | None]:
        """Numbers about the difference between a judgement and the first one; none about the first."""
        if self.first is None:
            self.first = judgement
            return {}
        return self.difference(self.first, judgement)

    def difference(self, first: Judgement, other: Judgement) -> dict[str, float | None]:
        """Numbers about the difference between two judgements of the same samples."""
        raise NotImplementedError

    def named(self, name: str, values: np.ndarray) -> dict[str, float | None]:
        """A mean over images and its interval as columns."""
        mean, low, high = mean_with_interval(values, seed=self.seed)
        return {name: mean, f"{name}_low": low, f"{name}_high": high}


class ChangedClasses(AnswerChange):
    """Classification: the class answered, its probability, and whether it is right."""

    def difference(self, first: Judgement, other: Judgement) -> dict[str, float | None]:
        """Paired over images: change of top-1, share of changed answers, change of the answered class's probability."""
        before, after = (torch.stack(judgement.answers).double().numpy() for judgement in (first, other))
        labels = np.array([sample.label for sample in first.samples])
        answered, everyone = before.argmax(1), np.arange(len(before))
        right = (after.argmax(1) == labels).astype(float) - (answered == labels)
        changes = self.named("change", right)
        changes |= self.named("changed_answers", (after.argmax(1) != answered).astype(float))
        return changes | self.named("probability_change", after[everyone, answered] - before[everyone, answered])


class ChangedPixels(AnswerChange):
    """Segmentation: the class answered for every pixel. The first answers are kept compressed."""

    def __init__(self, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.kept: dict[int, bytes] = {}
        self.changed: dict[int, tuple[int, int]] = {}

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        """Keep the labels of an image, or compare them with those kept."""
        labels, index = outputs.to(torch.uint8).cpu().numpy(), int(batch.indices[0])
        if self.first is None:
            self.kept[index] = zlib.compress(labels.tobytes(), 1)
            return
        before = np.frombuffer(zlib.decompress(self.kept[index]), np.uint8).reshape(labels.shape)
        self.changed[index] = int((before != labels).sum()), labels.size

    def difference(self, first: Judgement, other: Judgement) -> dict[str, float | None]:
        """Share of changed pixels, the mean over images."""
        shares = np.array([changed / size for changed, size in self.changed.values()])
        self.changed.clear()
        return self.named("changed_pixels", shares)


class ChangedObjects(AnswerChange):
    """Detection: the objects answered with a score of 0.5 or more."""

    def difference(self, first: Judgement, other: Judgement) -> dict[str, float | None]:
        """Share of them that are found again: same class, IoU of boxes 0.5 or more, score 0.5 or more."""
        pairs = [_as_truth(*pair) for pair in zip(first.answers, other.answers, strict=True)]
        matches = match(pairs)
        return {"answers_kept": float(matches.found.sum() / matches.objects) if matches.objects else None}


def _as_truth(before: ImageAnswer, after: ImageAnswer) -> ImageAnswer:
    """The sure answers of `after`, to be matched with those of `before`."""
    sure, known = after.scores >= SURE, before.scores >= SURE
    return ImageAnswer(
        after.image_id,
        boxes=after.boxes[sure],
        scores=after.scores[sure],
        labels=after.labels[sure],
        true_boxes=before.boxes[known],
        true_labels=before.labels[known],
        crowd=torch.zeros(int(known.sum()), dtype=torch.bool),
    )


CHANGES: dict[str, type[AnswerChange]] = {
    "classification": ChangedClasses,
    "segmentation": ChangedPixels,
    "detection": ChangedObjects,
}
"""By task."""


@dataclass(frozen=True)
class Intervention:
    """Something done to what one block, or all of them, nominate."""

    block: str
    kind: str


def possible_interventions(model: Any) -> list[Intervention]:
    """Every block, then all blocks, with everything that can be done to what they nominate."""
    blocks = nominator_blocks(model)
    shared = [context for context in CONTEXTS if all(context in module.contexts for module in blocks.values())]
    has = {**{name: module.contexts for name, module in blocks.items()}, ALL_BLOCKS: shared}
    return [
        Intervention(block, kind)
        for block, contexts in has.items()
        for kind in KINDS
        if kind not in CONTEXTS or kind in contexts
    ]


def measure_effects(opened: Opened, data: Data, settings: EvaluationSettings, out: Path, *, seed: int) -> Rows:
    """One row for the model as it is, and one per intervention: the task's own metric, its change, changed answers.

    Args:
        opened: the model.
        data: to be judged on, again and again.
        settings: how.
        out: a folder that nothing is written to.
        seed: of chance, and of the intervals.
    """
    changes = CHANGES[opened.workflow.name](seed=seed)
    jobs: list[Intervention | None] = [None, *possible_interventions(opened.model)]
    rows: Rows = []
    for job in track(jobs, total=len(jobs), what="judging interventions"):
        with _applied(opened.model, job, seed):
            judgement = opened.judge(data, settings, out, callbacks=[changes])
        rows.append(_row(job, judgement, opened.workflow.task.measure, changes.compare(judgement), rows))
    return rows


def _applied(model: Any, job: Intervention | None, seed: int) -> AbstractContextManager[None]:
    if job is None:
        return nullcontext()
    blocks: Sequence[str] | None = None if job.block == ALL_BLOCKS else [job.block]
    return intervene(model, job.kind, blocks=blocks, seed=seed)


def _row(
    job: Intervention | None, judgement: Judgement, measure: str, changes: dict[str, float | None], rows: Rows
) -> dict[str, Any]:
    numbers = judgement.report.summary()
    names = [measure, *(["mask_ap"] if numbers.get("mask_ap") is not None else [])]
    block, kind = (AS_IT_IS, "none") if job is None else (job.block, job.kind)
    row: dict[str, Any] = {"block": block, "intervention": kind, **{name: numbers[name] for name in names}}
    if rows and "change" not in changes:
        known = None not in (row[measure], rows[0][measure])
        changes = {"change": row[measure] - rows[0][measure] if known else None, **changes}
    return row | changes
