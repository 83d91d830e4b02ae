"""Preparation of a run: data are read and audited, settings filled in, the run folder made."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from nommer.acceleration.compile import check_compiler
from nommer.acceleration.training import accelerate
from nommer.data.findings import find_leaks, notice_issues
from nommer.data.folds import hold_back_fold
from nommer.data.formats.labelled import split_as_csv
from nommer.data.formats.own_datasets import read_datasets
from nommer.data.formats.source import Source
from nommer.data.loader import check_loading_workers
from nommer.data.module import ImageData
from nommer.data.seeding import seed_all
from nommer.distributed.devices import parse_device, processes_of
from nommer.distributed.sync_norms import synchronises_norms
from nommer.errors import InputError
from nommer.fonts import legend
from nommer.models.storage import Model
from nommer.progress import notice
from nommer.runs.changes import changed_settings
from nommer.runs.folder import RunFolder
from nommer.runs.lock import locked
from nommer.runs.results import check_outside, environment, prepare_folder, read_environment
from nommer.settings.addresses import written
from nommer.settings.own_parts import OwnParts
from nommer.settings.train import TrainSettings
from nommer.settings.train_defaults import default_image_size
from nommer.tasks.data import Auditing, Data, Found
from nommer.tasks.module import TaskModule
from nommer.tasks.pretrained_settings import like_pretrained
from nommer.tasks.registry import TASKS, task_for
from nommer.tasks.resolve import check_names
from nommer.tasks.task import Task
from nommer.tasks.teachers import describe_teacher
from nommer.training.batch_of_one import check_batch_of_one
from nommer.training.batch_size import with_batch_size
from nommer.training.default_network import with_network
from nommer.training.freezing import freeze
from nommer.training.hints import tell_cheaper_stem, tell_long_warmup
from nommer.training.last_checkpoint import read_progress
from nommer.training.loggers import check_loggers
from nommer.training.own_parts import check_workers, record_own_parts, use_transform


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to train: every process has the same."""

    task: Task
    settings: TrainSettings
    """Resolved."""
    found: Found
    """The data, read and audited."""
    own: OwnParts = field(default_factory=OwnParts)
    """People's own parts."""

    @property
    def run(self) -> RunFolder:
        """The run folder."""
        return RunFolder(self.settings.out)

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint to go on from, if any."""
        return str(self.run.last) if self.settings.resume else None

    def build_model(self) -> Model:
        """Build the model that is to be trained, the same in every process."""
        settings = self.settings
        seed_all(settings.seed)
        if settings.resume:  # its own weights follow
            settings = settings.without_weights()
        accelerator, _ = parse_device(settings.device, settings.devices)
        model = accelerate(self.task.model.build(settings, self.found.data), accelerator)
        freeze(model.network, settings.freeze)
        check_batch_of_one(model.network, settings)
        return model

    def training_data(self, model: Model) -> ImageData[Any, Any]:
        """Return the batches of images."""
        batches = self.task.data.training(self.settings, self.found.data, model)
        use_transform(batches, self.own, model)
        check_workers(self.own, self.settings.workers or 0)
        return batches

    def training_module(self, model: Model) -> TaskModule:
        """Return the model with its losses and its optimiser."""
        settings = self.settings
        images = settings.images_per_step * processes_of(settings) * settings.accumulate
        lr = settings.optim.scaled_lr(settings.learning_rate, images)
        module = self.task.training_module(settings, model, lr=lr, found=self.found)
        if module.distillation is not None:
            notice(describe_teacher(settings, module.distillation, model))
        module.own_loss = self.own.loss
        if settings.compile:
            module.compile_training()
        return module

    def describe(self) -> str:
        """Describe the run in one line."""
        settings, splits = self.settings, self.found.data.splits
        sizes = ", ".join(f"{len(samples)} {split}" for split, samples in splits.items())
        accelerator, _ = parse_device(settings.device, settings.devices)
        total = settings.images_per_step * processes_of(settings)
        steps, rest = divmod(len(splits["train"]), total)
        waiting = f" ({rest} images, others each time, wait for the next epoch)" if rest else ""
        if settings.epoch_steps:
            steps, waiting = settings.epoch_steps * settings.accumulate, ""
        size = self.task.model.describe_size(settings)
        return (
            f"{settings.model}: {self.task.data.describe(self.found.data)}{sizes} images of "
            f"{written(settings.data)}; {size}, {settings.epochs} epochs of "
            f"{steps} steps of {total} images{waiting}, {accelerator}, precision "
            f"{settings.precision}, run folder {settings.out}"
        )

    def describe_resumption(self) -> str:
        """Tell where a resumed run goes on, or that there is nothing left to do."""
        done, epochs = read_progress(self.run.last), self.settings.epochs
        if done.epochs < epochs:
            return f"going on from {done} (of {epochs} epochs)"
        nothing = f"all {done.epochs} epochs are done: nothing to train"
        return f"{nothing}; a larger --epochs goes on from here, on its own schedule"


def check_first(settings: TrainSettings) -> None:
    """Refuse what can be refused before any data are read.

    Raises:
        InputError: a name that is not known, a library or compiler that is not there, a device
            that cannot do what is asked, or a run folder that holds the data.
    """
    check_names(settings)
    check_loggers(settings.loggers)
    accelerator, _ = parse_device(settings.device, settings.devices)
    synchronises_norms(settings.sync_norms, accelerator, usual=False)
    if settings.compile:
        check_compiler()
    if settings.overwrite:
        check_outside(settings.data, settings.out)


Read = Callable[[], tuple[Task, Found]]
"""Gives what `read_data` gives."""


def find_first(
    settings: TrainSettings, own: OwnParts, read: Read | None = None
) -> tuple[Task, Found]:
    """Find task and data, unless the run folder is refused anyway.

    Args:
        settings: of the run.
        own: its data sets, where people give their own.
        read: reads and audits the data, for several runs once.
    """
    RunFolder(settings.out).check(resume=settings.resume, overwrite=settings.overwrite)
    task, found = read_data(settings, own) if read is None else read()
    return task, split_data(task, settings, found)


def read_data(settings: TrainSettings, own: OwnParts) -> tuple[Task, Found]:
    """Read and audit the data, which are the same in all folds."""
    task, data = find_samples(settings, own)
    return task, audit_data(task, settings, data)


def find_samples(settings: TrainSettings, own: OwnParts) -> tuple[Task, Data]:
    """Return the task and the data of a run, before any image is read."""
    if own.datasets is not None:
        name, data = read_datasets(settings.data, own.datasets)
        return TASKS[name], data
    task, source = task_of_run(settings)
    return task, task.data.find(settings, source)


def task_of_run(settings: TrainSettings) -> tuple[Task, Source]:
    """Return the task of a run, the verb's own or that which the data are for, and the data."""
    source = Source(settings.data, settings.classes, settings.labels)
    return TASKS[settings.task] if settings.task else task_for(source), source


def find_data(task: Task, settings: TrainSettings, source: Source) -> Found:
    """Read, audit and if need be split the data; tell what is left out."""
    found = audit_data(task, settings, task.data.find(settings, source))
    return split_data(task, settings, found)


def audit_data(task: Task, settings: TrainSettings, data: Data) -> Found:
    """Read every image, and leave out what cannot be learned from."""
    how = Auditing(
        on_bad_sample=settings.on_bad_sample,
        training=True,
        masks=settings.detection.masks,
        most=settings.detection.protocol.most,
        reading=settings.pixels.reading,
    )
    return task.data.audit(data, how)


def split_data(task: Task, settings: TrainSettings, found: Found) -> Found:
    """Hold back a fold, or a part of data without a split; tell what is left out."""
    data = found.data
    if settings.folds is not None and settings.fold is not None:
        classes = {s.path: task.data.classes_in(s) for s in data.splits["train"]}
        which: Any = {"folds": settings.folds, "fold": settings.fold, "seed": settings.seed}
        data = hold_back_fold(data, classes, found.digests, **which)
    elif "val" not in data.splits:
        data = task.data.split(data, fraction=settings.val_fraction, seed=settings.seed)
    leaks = find_leaks(data, found.digests)
    if leaks:
        notice(f"validation images that are training images too, evaluated too well: {len(leaks)}")
        data = replace(data, issues=(*data.issues, *leaks))
    notice_issues(data.issues)
    if told := legend(data.class_names):
        notice(told)
    return replace(found, data=data)


def fill_in(task: Task, settings: TrainSettings, found: Found) -> TrainSettings:
    """Fill in everything that depends on other models, data and machine.

    Raises:
        InputError: something does not fit, such as more processes than validation images.
    """
    image_size = settings.image_size or default_image_size(found.short_side)
    crops = "augment" in task.options
    settings = with_network(settings, image_size=image_size, crops=crops)
    settings = like_pretrained(settings, image_size=image_size, crops=crops)
    settings = with_batch_size(task, settings, found, RunFolder(settings.out))
    settings = task.resolve(settings, found)
    check_loading_workers(settings.workers or 0)
    tell_long_warmup(settings)
    tell_cheaper_stem(settings, crops=crops)
    processes, images = processes_of(settings), len(found.data.splits["val"])
    if images < processes:
        raise InputError(
            f"{settings.data}: {images} validation images for {processes} processes; each needs one"
        )
    return settings


def open_run(prepared: Prepared, *, until: ExitStack) -> None:
    """Make the run folder and write what is known before training, or check that it may go on.

    Args:
        prepared: the run; this process locks its folder.
        until: with it the lock ends.
    """
    task, settings, found, run = prepared.task, prepared.settings, prepared.found, prepared.run
    until.enter_context(locked(run.path))
    data, whole = found.data, settings.with_whole_paths()
    split, classes = split_as_csv(data, found.contents), task.data.describe_classes(data)
    if settings.resume:
        run.check_resumable(whole, split, classes)
        started = run.settings()
        if started is not None and started.data != whole.data:
            before, now = written(started.data), written(whole.data)
            notice(f"the same files as in {before}, by their contents, are in {now}")
        run.sweep()
        notice_other_versions(run)
    prepare_folder(
        run.path, resume=settings.resume, overwrite=settings.overwrite, replaced=run.path
    )
    run.write_config(whole)
    record_own_parts(run, prepared.own, resume=settings.resume)
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
