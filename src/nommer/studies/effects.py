"""Does it matter what is nominated.

The task's own numbers and answers, were other contexts nominated.
"""

import random
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal, cast

import lightning as L
import numpy as np
import torch

from nommer.backbone.contexts import CONTEXTS
from nommer.data.formats.detection import as_coco
from nommer.inference.evaluation import EvaluationSettings, Opened
from nommer.nominations.images import SURE
from nommer.nominations.intervention import KINDS, intervene
from nommer.nominations.trace import nominator_blocks
from nommer.progress import track
from nommer.studies.intervals import (
    class_pixels,
    draw_resamples,
    ends,
    mean_with_interval,
    resampled_means,
    resampled_miou,
    resampled_precision,
)
from nommer.studies.parts import PartIntervention, PartsSeen
from nommer.studies.pattern import Rows
from nommer.studies.regions import Part
from nommer.tasks.detection.metrics import ImageAnswer, match
from nommer.tasks.detection.task import DetectionModule
from nommer.tasks.segmentation.task import SegmentationModule
from nommer.tasks.task import Data, Evaluation

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


class AnswerChange(L.Callback):
    """How answers differ from those of the first evaluation that it looks on at, in the way of one
    task.

    Args:
        measure: the task's own, whose change is looked at.
        seed: of the intervals.
    """

    def __init__(self, *, measure: str, seed: int) -> None:
        self.measure, self.seed = measure, seed
        self.first: Evaluation | None = None
        self._first_resampled: Mapping[str, np.ndarray] = {}

    def compare(self, evaluation: Evaluation) -> dict[str, float | None]:
        """A evaluation's measures, and what differs from the first one, each with its interval where
        there is one.
        """
        images, numbers = len(evaluation.samples), evaluation.report.summary()
        resampled = self.resampled(evaluation, draw_resamples(images, seed=self.seed))
        found: dict[str, float | None] = {}
        for name, values in resampled.items():
            found |= _with_ends(name, numbers[name], values, images)
        if self.first is None:
            self.first, self._first_resampled = evaluation, resampled
            return found
        before, after = (of.report.summary()[self.measure] for of in (self.first, evaluation))
        change = None if None in (before, after) else after - before
        changed = resampled[self.measure] - self._first_resampled[self.measure]
        return (
            found
            | _with_ends("change", change, changed, images)
            | self.difference(self.first, evaluation)
        )

    def resampled(self, evaluation: Evaluation, drawn: np.ndarray) -> Mapping[str, np.ndarray]:
        """The measures that the table tells of, the task's own first, in every data set of
        resampled images.
        """
        raise NotImplementedError

    def difference(self, first: Evaluation, other: Evaluation) -> dict[str, float | None]:
        """Numbers about the difference between two judgements of the same samples."""
        raise NotImplementedError

    def named(self, name: str, values: np.ndarray) -> dict[str, float | None]:
        """A mean over images and its interval as columns."""
        mean, low, high = mean_with_interval(values, seed=self.seed)
        return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _with_ends(
    name: str, value: float | None, resampled: np.ndarray, images: int
) -> dict[str, float | None]:
    low, high = (None, None) if value is None else ends(resampled, images)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


class ChangedClasses(AnswerChange):
    """Classification: the class answered, its probability, and whether it is right."""

    def resampled(self, evaluation: Evaluation, drawn: np.ndarray) -> Mapping[str, np.ndarray]:
        """Top-1."""
        answered = torch.stack(evaluation.answers).argmax(1).numpy()
        right = answered == np.array([sample.label for sample in evaluation.samples])
        return {"top1": resampled_means(right.astype(float), drawn)}

    def difference(self, first: Evaluation, other: Evaluation) -> dict[str, float | None]:
        """Paired over images: share of changed answers, change of the answered class's probability."""
        before, after = (
            torch.stack(evaluation.answers).double().numpy() for evaluation in (first, other)
        )
        answered, everyone = before.argmax(1), np.arange(len(before))
        changes = self.named("changed_answers", (after.argmax(1) != answered).astype(float))
        return changes | self.named(
            "probability_change", after[everyone, answered] - before[everyone, answered]
        )


class ChangedPixels(AnswerChange):
    """Segmentation: the class answered for every pixel. The first answers are kept compressed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.kept: dict[int, bytes] = {}
        self.changed: dict[int, tuple[int, int]] = {}
        self.pixels: dict[int, np.ndarray] = {}

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        *_: Any,
        **__: Any,
    ) -> None:
        """Keep the labels of an image, or compare them with those kept."""
        labels, index = outputs.to(torch.uint8).cpu().numpy(), int(batch.indices[0])
        truth, model = batch.masks[0].cpu().numpy(), cast("SegmentationModule", pl_module).model
        self.pixels[index] = class_pixels(labels, truth, len(model.class_names))
        if self.first is None:
            self.kept[index] = zlib.compress(labels.tobytes(), 1)
            return
        before = np.frombuffer(zlib.decompress(self.kept[index]), np.uint8).reshape(labels.shape)
        self.changed[index] = int((before != labels).sum()), labels.size

    def resampled(self, evaluation: Evaluation, drawn: np.ndarray) -> Mapping[str, np.ndarray]:
        """The mIoU."""
        return {
            "miou": resampled_miou(
                np.stack([self.pixels[index] for index in sorted(self.pixels)]), drawn
            )
        }

    def difference(self, first: Evaluation, other: Evaluation) -> dict[str, float | None]:
        """Share of changed pixels, the mean over images."""
        shares = np.array([changed / size for changed, size in self.changed.values()])
        self.changed.clear()
        return self.named("changed_pixels", shares)


class ChangedObjects(AnswerChange):
    """Detection: the objects answered with a score of 0.5 or more."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember what was judged, and how."""
        self.task = cast("DetectionModule", pl_module)

    def resampled(self, evaluation: Evaluation, drawn: np.ndarray) -> Mapping[str, np.ndarray]:
        """Average precision of the boxes, and of the masks where there are any."""
        truth, network = as_coco(self.task.truth, evaluation.samples), self.task.model.network
        results = [entry for answer in evaluation.answers for entry in answer.results]
        kinds: dict[str, Literal["bbox", "segm"]] = {
            "box_ap": "bbox",
            **({"mask_ap": "segm"} if network.has_masks else {}),
        }
        most = network.protocol.most
        return {
            name: resampled_precision(truth, results, kind, drawn, most=most)
            for name, kind in kinds.items()
        }

    def difference(self, first: Evaluation, other: Evaluation) -> dict[str, float | None]:
        """Share of them that are found again.

        Same class, IoU of boxes 0.5 or more, score 0.5 or more.
        """
        pairs = [_as_truth(*pair) for pair in zip(first.answers, other.answers, strict=True)]
        matches = match(pairs)
        return {
            "answers_kept": float(matches.found.sum() / matches.objects)
            if matches.objects
            else None
        }


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
    """Something done to what one block, or all of them, nominate, everywhere or in one part of
    every image.
    """

    block: str
    kind: str
    part: Part | None = None


def possible_interventions(model: Any, parts: Sequence[Part] = ()) -> list[Intervention]:
    """Every block, then all blocks, then all blocks in each of the parts, with everything that can
    be done.
    """
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
    """What became of the answers, and why something is not there."""

    rows: Rows
    absent: dict[str, str]


def measure_effects(
    opened: Opened, data: Data, settings: EvaluationSettings, out: Path, *, seed: int
) -> Effects:
    """One row for the model as it is, and one per intervention.

    The task's own metric, its change, changed answers.

    Args:
        opened: the model.
        data: to be judged on, again and again.
        settings: how.
        out: a folder that nothing is written to.
        seed: of chance, and of the intervals.
    """
    changes = CHANGES[opened.task.name](measure=opened.task.module.measure, seed=seed)
    seen = PartsSeen(opened.model)
    as_it_is = opened.evaluate(data, settings, out, callbacks=[changes, seen])
    rows = [_row(None, changes.compare(as_it_is))]
    jobs = possible_interventions(opened.model, seen.parts)
    for job in track(jobs, total=len(jobs), what="judging interventions"):
        within = [] if job.part is None else [PartIntervention(seen, job.kind, job.part, seed=seed)]
        with _applied(opened.model, job, seed):
            evaluation = opened.evaluate(data, settings, out, callbacks=[changes, *within])
        rows.append(_row(job, changes.compare(evaluation), seen.shares))
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
