"""Preparation of a run: data are read and audited, the run folder is made or checked."""

from contextlib import ExitStack
from dataclasses import replace

from nommer.data.findings import find_leaks, notice_issues
from nommer.data.formats.labelled import split_as_csv
from nommer.distributed.trainer import processes_of
from nommer.errors import InputError
from nommer.progress import notice
from nommer.runs.changes import changed_settings
from nommer.runs.folder import RunFolder
from nommer.runs.lock import locked
from nommer.runs.results import environment, prepare_folder, read_environment
from nommer.settings.train import TrainSettings
from nommer.tasks.task import Auditing, Data, Found, Task


def look_first(task: Task, run: RunFolder, settings: TrainSettings) -> Found:
    """The data, unless the run folder is refused anyway."""
    run.check(resume=settings.resume, overwrite=settings.overwrite)
    return find_data(task, settings)


def find_data(task: Task, settings: TrainSettings) -> Found:
    """Read, audit and if need be split the data; tell what is left out."""
    data = task.read(settings.data, classes=settings.classes)
    how = Auditing(
        on_bad_sample=settings.on_bad_sample,
        training=True,
        masks=settings.detection.masks,
        reading=settings.pixels.reading,
    )
    found = task.audit(data, how)
    data = found.data
    if "val" not in data.splits:
        data = task.split(data, fraction=settings.val_fraction, seed=settings.seed)
    leaks = find_leaks(data, found.digests)
    if leaks:
        notice(f"validation images that are training images too, evaluated too well: {len(leaks)}")
        data = replace(data, issues=(*data.issues, *leaks))
    notice_issues(data.issues)
    return replace(found, data=data)


def check_shares(settings: TrainSettings, data: Data) -> None:
    """Refuse more processes than there are validation images.

    Raises:
        InputError: both numbers.
    """
    processes, images = processes_of(settings), len(data.splits["val"])
    if images < processes:
        raise InputError(
            f"{settings.data}: {images} validation images for {processes} processes; each needs one"
        )


def open_run(
    task: Task, run: RunFolder, settings: TrainSettings, found: Found, *, until: ExitStack
) -> None:
    """Make the run folder and write what is known before training.

    Or check that the run may be resumed.

    Args:
        task: of the task.
        run: the run folder, which this process locks.
        settings: resolved.
        found: the data.
        until: with it the lock ends.
    """
    until.enter_context(locked(run.path))
    data = found.data
    split, classes = split_as_csv(data, found.contents), task.describe_classes(data)
    written = settings.with_whole_paths()
    if settings.resume:
        run.check_resumable(vars(written), split, classes)
        run.sweep()
        notice_other_versions(run)
    prepare_folder(
        run.path, resume=settings.resume, overwrite=settings.overwrite, replaced=run.path
    )
    run.write_config(
        {
            name: value
            for name, value in vars(written).items()
            if name not in ("resume", "overwrite")
        }
    )
    run.write_issues(data.issues)
    run.write_split(split)
    run.write_classes(classes)


def notice_other_versions(run: RunFolder) -> None:
    """Tell of other packages or another machine than the run was started with."""
    changes = list(changed_settings(read_environment(run.path), environment()))
    versions = [
        change
        for change in changes
        if change.startswith(("packages.", "python", "torch_threads", "cuda"))
    ]
    if versions:
        notice(
            f"other versions or devices: {'; '.join(versions)}; numbers may differ in their last "
            "digits"
        )
