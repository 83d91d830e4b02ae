"""One training run, from data on disk to an evaluated model in a run folder."""

from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import cast

from nommer.acceleration.compile import exact_float32, sound_attention
from nommer.data.loader import dead_workers_told
from nommer.data.remote import local
from nommer.distributed.devices import parse_device
from nommer.distributed.interruption import StopSignals, interruptible
from nommer.distributed.launch import acting_as, find_launch
from nommer.distributed.rendezvous import Rendezvous
from nommer.distributed.siblings import Check, no_check, siblings
from nommer.distributed.surroundings import unchanged_surroundings
from nommer.distributed.trainer import quiet_lightning
from nommer.errors import of_this_process
from nommer.models.storage import Model
from nommer.progress import console, notice
from nommer.settings.own_parts import OwnParts
from nommer.settings.train import TrainSettings
from nommer.tasks.module import TaskModule
from nommer.training.callbacks import RunCallbacks
from nommer.training.conclusion import TrainingResult, conclude, result_of
from nommer.training.data_places import bring_first
from nommer.training.full_disks import explaining_full_disks
from nommer.training.own_parts import check_own_parts, own_datasets
from nommer.training.preparation import (
    Prepared,
    Read,
    check_first,
    fill_in,
    find_first,
    open_run,
)


def train_model(
    settings: TrainSettings, own: OwnParts | None = None, read: Read | None = None
) -> TrainingResult:
    """Train as `settings` say, with people's own parts; see `nommer.train`.

    Args:
        settings: of the run.
        own: people's parts.
        read: reads and audits the data for several runs once.

    Raises:
        InputError: something given does not fit.
        Stopped: it was asked to stop; everything is saved.
    """
    launch, devices, nodes = find_launch(settings.device, settings.devices, settings.nodes)
    settings = replace(settings, devices=devices, nodes=nodes)
    with unchanged_surroundings(), acting_as(launch.rank), StopSignals() as stop:
        check_first(settings)
        console.quiet = console.quiet or launch.rank > 0
        own = own or OwnParts()
        with own_datasets(own):
            return train_together(settings, own, Rendezvous(launch), stop, read)


def train_together(
    settings: TrainSettings,
    own: OwnParts,
    rendezvous: Rendezvous,
    stop: StopSignals,
    read: Read | None = None,
) -> TrainingResult:
    """Prepare in the first process, train in all, evaluate in the first."""
    settings = rendezvous.by_the_first(lambda: bring_first(settings))
    task, found = rendezvous.by_the_first(lambda: find_first(settings, own, read))
    local(settings.data)  # on every machine of several
    check_own_parts(own, task, rendezvous.launch)
    prepared = Prepared(task, fill_in(task, settings, found), found, own)
    module = prepared.training_module(prepared.build_model())
    with ExitStack() as until, quiet_lightning(), explaining_full_disks(prepared.run):
        rendezvous.by_the_first(lambda: open_run(prepared, until=until))
        notice(prepared.describe())
        with starting_others(prepared, rendezvous) as check:
            fit(prepared, module, rendezvous, stop, check)
        best = rendezvous.by_the_first(lambda: conclude(prepared, module), last=True)
    return result_of(prepared, best, module, rank=rendezvous.launch.rank)


def starting_others(prepared: Prepared, rendezvous: Rendezvous) -> AbstractContextManager[Check]:
    """Start the other processes of a run that nobody else has started, with what was prepared."""
    launch = rendezvous.launch
    if launch.launcher != "nommer":
        return nullcontext(no_check)
    ranks = [replace(launch, rank=rank, local_rank=rank) for rank in range(1, launch.world_size)]
    tasks = [(prepared, rank, rendezvous.port) for rank in ranks]
    return siblings("nommer.training.process", tasks)


def fit(
    prepared: Prepared,
    module: TaskModule,
    rendezvous: Rendezvous,
    stop: StopSignals,
    check: Check = no_check,
) -> None:
    """Train the model in this process, one of the group of all."""
    settings, run, launch = prepared.settings, prepared.run, rendezvous.launch
    callbacks = RunCallbacks(prepared, stop)
    model = cast("Model", module.model)
    batches = prepared.training_data(model)
    if launch.rank == 0:
        prepared.task.results.save_training_batch(batches, model, run.path / "train_batch.jpg")
    if settings.resume:
        notice(prepared.describe_resumption())
    accelerator, _ = parse_device(settings.device, settings.devices)
    with of_this_process(), rendezvous.group(accelerator, check), dead_workers_told():
        trainer = callbacks.trainer(launch)
        with callbacks.limit.observed(), interruptible(trainer), exact_float32(), sound_attention():
            trainer.fit(module, datamodule=batches, ckpt_path=prepared.checkpoint)
    if launch.rank == 0:
        callbacks.history.draw(module)
