"""The one way a model is evaluated on labelled images, by training and by `evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L

from nommer.acceleration.compile import exact_float32
from nommer.data.loader import dead_workers_told
from nommer.data.module import ImageData
from nommer.distributed.interruption import interruptible
from nommer.distributed.launch import acting_as
from nommer.distributed.trainer import make_trainer
from nommer.settings.choices import Precision
from nommer.tasks.module import Report, TaskModule


@dataclass(frozen=True)
class Evaluation:
    """The report over a data set, and what is kept of the answer to every sample."""

    report: Report
    samples: tuple[Any, ...]
    answers: tuple[Any, ...]
    evidence: tuple[Any, ...] = ()
    """Of every sample, what decisions are found by, where the task finds any."""


def evaluate(
    module: TaskModule,
    data: ImageData[Any, Any],
    *,
    device: str,
    precision: Precision,
    out: Path,
    callbacks: Sequence[L.Callback] = (),
) -> Evaluation:
    """Evaluate a module's model on the validation part of `data`, while `callbacks` look on."""
    trainer = make_trainer(
        device=device,
        devices=1,
        precision=precision,
        out=out,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=list(callbacks),
    )
    with acting_as(0), interruptible(trainer), exact_float32(), dead_workers_told():
        trainer.validate(module, datamodule=data, verbose=False)
    if module.report is None:
        raise RuntimeError("validation ended without a report")
    samples = tuple(data.val.samples)
    order = range(len(samples))
    return Evaluation(
        module.report,
        samples,
        tuple(module.answers[index] for index in order),
        tuple(module.evidence[index] for index in order if index in module.evidence),
    )
