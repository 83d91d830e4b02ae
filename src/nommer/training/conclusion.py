"""Conclusion of a run: the best weights are evaluated as `nommer evaluate` does, and delivered."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from nommer.acceleration.fuse import fuse
from nommer.acceleration.training import literal
from nommer.models.storage import Model, load, save_model
from nommer.progress import notice
from nommer.runs.checkpoint import open_checkpoint
from nommer.settings.addresses import written
from nommer.tasks.data import Data
from nommer.tasks.decided import find_decisions, save_decided
from nommer.tasks.evaluation import Evaluation, evaluate
from nommer.tasks.module import Report, TaskModule
from nommer.tasks.resolve import loading_of
from nommer.training.fold import save_fold
from nommer.training.last_checkpoint import read_progress
from nommer.training.preparation import Prepared


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: its folder, its best model and the report on it."""

    out: Path
    """The run folder; `nommer.load(out)` loads the model."""
    task: str
    """The task that the data is for, such as "classification"."""
    report: Report
    """Evaluation of the best epoch's model on the validation images."""
    epoch: int
    """The best epoch by top-1, or mIoU, on the validation images; of equals the one of the lower
    loss.
    """
    model: Model
    """The best epoch's model, in evaluation mode on the CPU."""
    plots: str
    """The pictures to look at, by file name."""
    rank: int = 0
    """Rank of this process; those above 0 say nothing."""
    decided: Mapping[str, Any] = field(default_factory=dict)
    """Decisions found on the validation images, calibration before and after them, and 95 %
    intervals of the report's main numbers.
    """


@dataclass(frozen=True)
class Best:
    """The best epoch and its report, as one process tells the others."""

    epoch: int
    report: Report
    decided: Mapping[str, Any] = field(default_factory=dict)
    """Decisions, calibration and intervals."""


def conclude(prepared: Prepared, module: TaskModule) -> Best:
    """Evaluate the best weights, and write the model to use with its tables and plots.

    Where time was up before any epoch was done, those are the last.
    """
    task, settings, run = prepared.task, prepared.settings, prepared.run
    best = run.best if run.best.is_file() else run.last
    module.load_state_dict(open_checkpoint(best)["state_dict"])
    epoch, model = read_progress(best).epochs, cast("Model", module.model).cpu()
    data = prepared.found.data
    held_back = replace(data, splits={"val": data.splits["val"]})
    evaluation = _evaluate(prepared, module.concluding(fuse(model), held_back), held_back)
    report = evaluation.report
    metrics = {"epoch": epoch, **report.summary()}
    model.decisions = find_decisions(task, evaluation, model)
    save_model(run.model, model.eval(), metrics=metrics, version=version("nommer"))
    facts = {"epoch": epoch, "data": written(settings.data), "split": "val"}
    with torch.compiler.set_stance("force_eager"):  # also one whose blocks were compiled to train
        decided = save_decided(task, evaluation, model, held_back, run.path, facts=facts)
    if settings.fold is not None:
        save_fold(task, decided.evaluation, model, prepared.settings, epoch)
    score = f"{module.measure_name} {getattr(report, module.measure):.2%}"
    notice(f"best epoch {epoch}: {score} on {report.images} validation images")
    if said := model.decisions.in_words(model.class_names):
        notice(f"found on them: {said}")
    return Best(epoch, report, decided.facts)


def _evaluate(prepared: Prepared, module: TaskModule, data: Data) -> Evaluation:
    """Evaluate on one device, as `nommer evaluate` does."""
    settings = prepared.settings
    loading = replace(loading_of(settings), epoch_steps=None, cache="none")
    module.finds_decisions = True
    return evaluate(
        module,
        prepared.task.data.evaluation(data, module.model, loading),
        device=settings.device.partition(",")[0],
        precision=settings.precision,
        out=prepared.run.path,
    )


def result_of(prepared: Prepared, best: Best, module: TaskModule, *, rank: int) -> TrainingResult:
    """Return the result, the same in every process; the first has the model already."""
    run, task = prepared.run, prepared.task
    plots = ", ".join(
        name for name in task.results.plots.split(", ") if (run.path / name).is_file()
    )
    own = literal(cast("Model", module.model)).eval() if rank == 0 else load(run.model)
    return TrainingResult(
        run.path, task.name, best.report, best.epoch, own, plots, rank, best.decided
    )
