"""One fold of several: what its run leaves for all of them, and how it is known to be finished."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nommer.checksums import check_description, with_checksums
from nommer.errors import InputError
from nommer.files import write_json
from nommer.models.storage import Model
from nommer.runs.folder import RunFolder
from nommer.settings.train import TrainSettings
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.task import Task

FOLD = "fold.json"


@dataclass(frozen=True)
class Fold:
    """A fold that is finished."""

    number: int
    """From 0."""
    out: Path
    """Its run folder."""
    epoch: int
    """Its best epoch."""
    task: str
    measure: str
    """The task's own number, among the others."""
    numbers: dict[str, Any]
    """Of the report on the images held back."""
    class_names: tuple[str, ...]
    images: list[dict[str, Any]]
    """The answer to each image held back."""


def save_fold(
    task: Task, evaluation: Evaluation, model: Model, settings: TrainSettings, epoch: int
) -> None:
    """Write what a fold leaves for all of them: its numbers, and its answers to images held back.

    It is written last, and says how many epochs the run was to have.
    """
    told = {
        "task": task.name,
        "fold": settings.fold,
        "epochs": settings.epochs,
        "epoch": epoch,
        "measure": task.module.measure,
        "numbers": evaluation.report.summary(),
        "class_names": list(model.class_names),
        "images": task.results.held_out(evaluation, model),
    }
    write_json(settings.out / FOLD, with_checksums(told, FOLD, {}))


def read_fold(run: RunFolder, epochs: int) -> Fold | None:
    """Return what `save_fold` wrote; None where the run is not finished with these epochs.

    Raises:
        InputError: it is damaged.
    """
    file = run.path / FOLD
    told = run.read_json(file)
    check_description(told, file)
    if told.get("epochs") != epochs:
        return None
    if lacking := {"fold", *Fold.__annotations__.keys() - {"number", "out"}} - told.keys():
        raise InputError(f"{file}: is damaged: it lacks {', '.join(sorted(lacking))}; delete it")
    return Fold(
        number=told["fold"],
        out=run.path,
        epoch=told["epoch"],
        task=told["task"],
        measure=told["measure"],
        numbers=told["numbers"],
        class_names=tuple(told["class_names"]),
        images=told["images"],
    )
