"""Training in folds: each part of the training images is held back once, and answered.

`train --folds` trains a run per fold, one after the other, each in a run folder of its own inside
`--out`. What they answered to images that they did not learn from is put together: mean and spread
of their numbers, one table of answers, and the labels that are probably wrong.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from math import isfinite
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from nommer.distributed.interruption import Stopped
from nommer.distributed.launch import find_launch
from nommer.errors import InputError
from nommer.files import write_csv, write_json
from nommer.models.decisions import Decisions
from nommer.progress import notice
from nommer.runs.folder import RunFolder
from nommer.runs.lock import check_unlocked, locked
from nommer.runs.results import check_folder, check_outside, empty, prepare_folder, runs_in
from nommer.settings.addresses import written
from nommer.settings.own_parts import OwnParts
from nommer.settings.train import TrainSettings
from nommer.tasks.doubts import Doubt, can_doubt
from nommer.tasks.registry import TASKS
from nommer.training.data_places import with_data_here
from nommer.training.default_network import as_started
from nommer.training.doubts_page import write_doubts
from nommer.training.fold import Fold, read_fold
from nommer.training.preparation import Read, check_first, read_data
from nommer.training.train import train_model


@dataclass(frozen=True)
class FoldsResult:
    """A finished training in folds."""

    out: Path
    """The folder with the folds' run folders and what is put together of them."""
    task: str
    folds: tuple[Fold, ...]
    numbers: list[dict[str, Any]]
    """Of each number of the folds' reports: mean, spread (standard deviation between folds, of
    n - 1), least and largest."""
    doubts: tuple[Doubt, ...] = ()
    """Every image by how well its label fits its answer, the worst first; none where that is not
    estimated."""
    rank: int = 0
    """Rank of this process; those above 0 say nothing."""

    @property
    def measure(self) -> str:
        """The task's own number."""
        return self.folds[0].measure


def train_folds(settings: TrainSettings, own: OwnParts) -> FoldsResult:
    """Train every fold that is not finished, and put together what they tell.

    Raises:
        InputError: something given does not fit.
        Stopped: it was asked to stop; what is finished stays, and the rest goes on with --resume.
    """
    rank = find_launch(settings.device, settings.devices, settings.nodes)[0].rank
    check_first(settings)
    settings = as_started(with_data_here(settings))
    check_folds_folder(settings)
    with ExitStack() as until:
        if rank == 0:
            open_folds(settings, until)
        read = cache(lambda: read_data(settings, own))  # not before a fold asks
        folds = [train_fold(settings, own, number, read) for number in range(settings.folds or 0)]
        return conclude_folds(settings, own, folds, rank)


def check_folds_folder(settings: TrainSettings) -> None:
    """Refuse a folder for the results before anything is done.

    Raises:
        InputError: it holds something else, or other settings are to be gone on with.
    """
    out, run = settings.out, RunFolder(settings.out)
    if settings.resume and settings.overwrite:
        raise InputError("--resume and --overwrite exclude each other: choose one")
    check_unlocked(out)
    if settings.resume:
        started = run.settings()
        if started is None or not started.several_runs:
            raise InputError(f"{out}: no training in folds to resume; drop --resume to start")
        run.check_settings(settings.with_whole_paths())
    elif settings.overwrite:
        for fold in folds_in(out):
            check_unlocked(fold)
        others = set(runs_in(out)) - {out, *folds_in(out)}
        if others:
            raise InputError(
                f"{out}: holds a training run, {min(others)}, which may not be deleted; choose "
                "another --out"
            )
    elif folds_in(out):
        raise InputError(
            f"{out}: exists and is not empty; choose another --out or use --overwrite, or --resume "
            "to go on with the folds"
        )
    else:
        check_folder(out, overwrite=False, replaced=out)


def folds_in(out: Path) -> list[Path]:
    """Return the run folders of folds in a folder."""
    return [run for run in runs_in(out) if run.parent == out and run.name.startswith("fold-")]


def open_folds(settings: TrainSettings, until: ExitStack) -> None:
    """Make the folder, lock it, and write the settings, or go on in it."""
    out = settings.out
    until.enter_context(locked(out))
    if settings.overwrite:
        check_outside(settings.data, out)
        for fold in folds_in(out):
            empty(fold)
    prepare_folder(out, resume=settings.resume, overwrite=settings.overwrite, replaced=out)
    RunFolder(out).write_config(settings.with_whole_paths())


def train_fold(settings: TrainSettings, own: OwnParts, number: int, read: Read) -> Fold:
    """Train one fold, or go on with it, unless it is finished."""
    run = RunFolder(settings.out / f"fold-{number}")
    if settings.resume and (finished := read_fold(run, settings.epochs)):
        notice(f"fold {number}: is finished")
        return finished
    notice(f"fold {number} of 0 to {(settings.folds or 0) - 1}:")
    goes_on = settings.resume and run.last.is_file() and run.config.is_file()
    of_run = replace(settings, fold=number, out=run.path, resume=goes_on, overwrite=not goes_on)
    try:
        train_model(of_run, own, read)
    except Stopped as stopped:
        whole = RunFolder(settings.out).resume_command
        raise Stopped(stopped.asked, f"{stopped}; with all folds: {whole}") from stopped
    fold = read_fold(run, settings.epochs)
    if fold is None:
        raise RuntimeError(f"{run.path}: the fold ended without its answers")
    return fold


def conclude_folds(
    settings: TrainSettings, own: OwnParts, folds: Sequence[Fold], rank: int
) -> FoldsResult:
    """Put together what the folds tell, and write it."""
    task = TASKS[folds[0].task]
    numbers = spread_of(folds)
    result = FoldsResult(settings.out, task.name, tuple(folds), numbers, rank=rank)
    if rank > 0:
        return result
    rows = [{"fold": fold.number, **row} for fold in folds for row in fold.images]
    names = folds[0].class_names
    write_json(settings.out / "out_of_fold.json", {"classes": list(names), "images": rows})
    write_csv(settings.out / "out_of_fold.csv", [in_columns(row, names) for row in rows])
    write_csv(settings.out / "folds.csv", numbers)
    told: dict[str, Any] = {"task": task.name, "data": written(settings.data)}
    told["measure"] = result.measure
    each = [{"fold": f.number, "epoch": f.epoch, **f.numbers} for f in folds]
    if task.deciding and (thresholds := task.deciding.of_folds(rows, names)):
        told["decisions"] = Decisions(images=len(rows), **thresholds).to_dict()
    write_json(settings.out / "result.json", {**told, "numbers": numbers, "folds": each})
    if not can_doubt():
        notice(
            "labels that are probably wrong are not looked for: needs the package cleanlab; pip "
            f"install 'nommer[data]', then {RunFolder(settings.out).resume_command}"
        )
        return result
    doubts = task.results.doubts(rows, names)
    write_csv(settings.out / "doubtful_labels.csv", [doubt.to_dict() for doubt in doubts])
    write_doubts(settings, own, task, doubts, settings.out / "doubtful_labels.html")
    return replace(result, doubts=tuple(doubts))


def spread_of(folds: Sequence[Fold]) -> list[dict[str, Any]]:
    """Return mean and spread over the folds of every number that all of them have."""
    rows = []
    for name in folds[0].numbers:
        values = [fold.numbers.get(name) for fold in folds]
        known = [float(v) for v in values if isinstance(v, int | float) and isfinite(v)]
        if len(known) == len(folds):
            ends = {"least": min(known), "largest": max(known)}
            rows.append({"number": name, "mean": mean(known), "spread": stdev(known), **ends})
    return rows


def in_columns(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return an answer with a column for the probability of each class."""
    flat = {k: ";".join(v) if k == "classes" else v for k, v in row.items()}
    chances = flat.pop("probabilities", None)
    if chances is not None:
        flat |= {f"probability of {name}": v for name, v in zip(names, chances, strict=True)}
    return flat
