"""One training run, from data on disk to an evaluated model in a run folder."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch

from nommer.acceleration.compile import check_compiler, exact_float32, sound_attention
from nommer.acceleration.fuse import fuse
from nommer.data.seeding import seed_all
from nommer.distributed.interruption import StopSignals, interruptible
from nommer.distributed.processes import (
    leave_process_group,
    process_rank,
    started_processes,
)
from nommer.distributed.rendezvous import Rendezvous, left_by_the_first
from nommer.distributed.sync_norms import synchronises_norms
from nommer.distributed.trainer import make_trainer, parse_device, processes_of, quiet_lightning
from nommer.models.storage import Model, save_model
from nommer.progress import console, notice
from nommer.runs.checkpoint import MovableCheckpoint, open_checkpoint
from nommer.runs.folder import RunFolder, plain
from nommer.runs.results import check_outside
from nommer.settings.inference import Inference
from nommer.settings.train import TrainSettings
from nommer.tasks.evaluation import evaluate
from nommer.tasks.module import Report, TaskModule
from nommer.tasks.networks import like_pretrained
from nommer.tasks.registry import task_for
from nommer.tasks.resolve import check_names, loading_of
from nommer.tasks.task import Data, Found, Task
from nommer.training.batch_size import with_batch_size
from nommer.training.callbacks import callbacks_of_options
from nommer.training.ema import AveragedWeights
from nommer.training.freezing import freeze
from nommer.training.full_disks import explaining_full_disks
from nommer.training.input_wait import InputWait
from nommer.training.last_checkpoint import LastCheckpoint, Progress, read_progress
from nommer.training.loggers import check_loggers, make_loggers
from nommer.training.preparation import check_shares, look_first, open_run
from nommer.training.records import BestModel, EpochLines, History, ProgressBar
from nommer.training.time_limit import TimeLimit


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
    """The best epoch by top-1, or mIoU, on the validation images; the first of equals."""
    model: Model
    """The best epoch's model, in evaluation mode on the CPU."""
    plots: str
    """The pictures to look at, by file name."""


def train_model(settings: TrainSettings) -> TrainingResult:
    """Train as `settings` say; see `nommer.train`."""
    with StopSignals() as stop:
        return train_until(settings, stop)


def train_until(settings: TrainSettings, stop: StopSignals) -> TrainingResult:
    """Train, unless it is asked for a stop.

    Raises:
        Stopped: it was; everything is saved.
    """
    settings = replace(settings, **started_processes(settings.devices, settings.nodes))
    check_names(settings)
    check_loggers(settings.loggers)
    if settings.compile:
        check_compiler()
    run = RunFolder(settings.out)
    first = process_rank() == 0
    console.quiet = not first
    if settings.overwrite:
        check_outside(settings.data, settings.out)
    with quiet_lightning():
        rendezvous = Rendezvous(
            processes_of(settings), parse_device(settings.device, settings.devices)[0]
        )
    task = task_for(settings.data, settings.classes)
    found = left_by_the_first() or rendezvous.by_the_first(lambda: look_first(task, run, settings))
    settings = with_batch_size(task, like_pretrained(settings), found, run)
    settings = task.resolve(settings, found)
    check_shares(settings, found.data)
    seed_all(settings.seed)
    fresh = settings
    if settings.resume:  # its own weights follow
        fresh = replace(settings, pretrained=None, reinit_head=False)
    model = task.build_model(fresh, found.data)
    freeze(model.network, settings.freeze)
    with ExitStack() as stack:
        if first or rendezvous.group is not None:
            rendezvous.by_the_first(lambda: open_run(task, run, settings, found, until=stack))
        notice(describe(settings, found.data, task.describe_size(settings)))
        with quiet_lightning(), explaining_full_disks(run), rendezvous.leaving(found, run.path):
            return fit_and_evaluate(task, settings, run, found, model, stop)


def describe(settings: TrainSettings, data: Data, size: str) -> str:
    """Describe the run in one line; `size` names the size of images in the network."""
    sizes = ", ".join(f"{len(samples)} {split}" for split, samples in data.splits.items())
    accelerator, _ = parse_device(settings.device, settings.devices)
    total = settings.images_per_step * processes_of(settings)
    steps, rest = divmod(len(data.splits["train"]), total)
    waiting = f" ({rest} images, others each time, wait for the next epoch)" if rest else ""
    if settings.epoch_steps:
        steps, waiting = settings.epoch_steps * settings.accumulate, ""
    return (
        f"{settings.model}: {len(data.class_names)} classes, {sizes} images of {settings.data}; "
        f"{size}, {settings.epochs} epochs of {steps} steps of {total} images{waiting}, "
        f"{accelerator}, precision {settings.precision}, run folder {settings.out}"
    )


def describe_resumption(settings: TrainSettings, done: Progress) -> str:
    """Where a resumed run goes on, or that there is nothing left to do."""
    if done.epochs < settings.epochs:
        return f"going on from {done} (of {settings.epochs} epochs)"
    nothing = f"all {done.epochs} epochs are done: nothing to train"
    return f"{nothing}; a larger --epochs goes on from here, on its own schedule"


def fit_and_evaluate(
    task: Task,
    settings: TrainSettings,
    run: RunFolder,
    found: Found,
    model: Model,
    stop: StopSignals,
) -> TrainingResult:
    """Train, take the best epoch's weights, evaluate them and write everything down."""
    batches = task.training_data(settings, found.data, model)
    history = History(run)
    limit = TimeLimit(settings.time_limit, stop)
    trainer = build_trainer(task, settings, run, history, stop, limit)
    lr = settings.optim.scaled_lr(
        settings.lr, settings.images_per_step * trainer.world_size * settings.accumulate
    )
    module = task.training_module(settings, model, lr=lr, found=found)
    if settings.compile:
        module.compile_training()
    if trainer.is_global_zero:
        task.save_training_batch(batches, model, run.path / "train_batch.jpg")
    if settings.resume:
        notice(describe_resumption(settings, read_progress(run.last)))
    with limit.observed(), interruptible(trainer), exact_float32(), sound_attention():
        trainer.fit(
            module, datamodule=batches, ckpt_path=str(run.last) if settings.resume else None
        )
    leave_process_group()
    history.draw(module)
    return conclude(task, settings, run, found.data, module)


def build_trainer(
    task: Task,
    settings: TrainSettings,
    run: RunFolder,
    history: History,
    stop: StopSignals,
    limit: TimeLimit,
) -> L.Trainer:
    """The trainer of a run, with its records and checkpoints."""
    saving: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    best = MovableCheckpoint(
        run.checkpoints,
        filename="best",
        monitor=f"val_{task.module.measure}",
        mode="max",
        **saving,
    )
    command = f"nommer train {run.resume_options}"
    last = LastCheckpoint(
        run.last, minutes=settings.checkpoint_minutes, stop=stop, command=command
    )  # after "best"
    averaged = AveragedWeights(settings.ema) if settings.ema else None
    accelerator, _ = parse_device(settings.device, settings.devices)
    terminal, waiting = sys.stderr.isatty(), InputWait()
    return make_trainer(
        device=settings.device,
        devices=settings.devices,
        nodes=settings.nodes,
        precision=settings.precision,
        out=run.path,
        sync_norms=synchronises_norms(
            settings.sync_norms, accelerator, usual=task.synchronise_norms
        ),
        max_epochs=settings.epochs,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.optim.clip_grad or None,
        callbacks=[
            *([averaged] if averaged else []),
            history,
            BestModel(run, averaged),
            *callbacks_of_options(settings, run, task.module, limit),
            waiting,
            ProgressBar(waiting) if terminal else EpochLines(waiting),
            best,
            last,
        ],
        enable_progress_bar=terminal,
        logger=make_loggers(
            settings.loggers, run, settings=plain(vars(settings.with_whole_paths()))
        ),
        log_every_n_steps=1_000_000,
    )


def conclude(
    task: Task, settings: TrainSettings, run: RunFolder, data: Data, module: TaskModule
) -> TrainingResult:
    """Evaluate the best weights the way `nommer evaluate` does, and write the model to use.

    Where time was up before any epoch was done, those are the last.
    """
    best = run.best if run.best.is_file() else run.last
    module.load_state_dict(open_checkpoint(best)["state_dict"])
    epoch = read_progress(best).epochs
    model, first = (
        cast("Model", module.model).cpu(),
        settings.device.partition(",")[0],
    )  # of several devices
    held_back = replace(data, splits={"val": data.splits["val"]})
    evaluation = evaluate(
        task.evaluation_module(fuse(model), held_back, Inference()),  # as `evaluate` does
        task.evaluation_data(
            held_back, model, replace(loading_of(settings), epoch_steps=None, cache="none")
        ),
        device=first,
        precision=settings.precision,
        out=run.path,
    )
    model, report = model.eval(), evaluation.report
    save_model(
        run.model, model, metrics={"epoch": epoch, **report.summary()}, version=version("nommer")
    )
    facts = {"epoch": epoch, "data": str(settings.data), "split": "val"}
    with torch.compiler.set_stance(
        "force_eager"
    ):  # also a model whose blocks were compiled to be trained
        task.save_evaluation(evaluation, model, held_back, run.path, facts=facts)
    score = f"{module.measure_name} {getattr(report, module.measure):.2%}"
    notice(f"best epoch {epoch}: {score} on {report.images} validation images")
    plots = ", ".join(name for name in task.plots.split(", ") if (run.path / name).is_file())
    return TrainingResult(run.path, task.name, report, epoch, model, plots)
