"""The callbacks of a run, in their order, and the trainer that calls them."""

from typing import Any

import lightning as L

from nommer.distributed.devices import parse_device
from nommer.distributed.interruption import StopSignals
from nommer.distributed.launch import Launch
from nommer.distributed.sync_norms import synchronises_norms
from nommer.distributed.trainer import make_trainer
from nommer.progress import on_terminal
from nommer.runs.checkpoint import MovableCheckpoint
from nommer.runs.folder import plain
from nommer.training.annealing import Annealing
from nommer.training.choosing import LateChoice
from nommer.training.early_stopping import RememberedEarlyStopping
from nommer.training.ema import AveragedWeights
from nommer.training.freezing import FrozenLayers
from nommer.training.input_wait import InputWait
from nommer.training.last_checkpoint import LastCheckpoint
from nommer.training.loggers import make_loggers
from nommer.training.nan_guard import NaNGuard
from nommer.training.preparation import Prepared
from nommer.training.records import BestModel, EpochLines, History, ProgressBar
from nommer.training.time_limit import TimeLimit


class RunCallbacks:
    """The callbacks of a run.

    Args:
        prepared: the run.
        stop: who may ask for a stop.
    """

    def __init__(self, prepared: Prepared, stop: StopSignals) -> None:
        self.prepared, self.stop = prepared, stop
        self.history = History(prepared.run)
        self.limit = TimeLimit(prepared.settings.time_limit, stop)
        self.on_terminal = on_terminal()

    def trainer(self, launch: Launch) -> L.Trainer:
        """Return Lightning's trainer with these callbacks."""
        settings, run = self.prepared.settings, self.prepared.run
        accelerator, _ = parse_device(settings.device, settings.devices)
        usual = self.prepared.task.synchronise_norms
        told = plain(vars(settings.with_whole_paths()))
        return make_trainer(
            device=settings.device,
            devices=settings.devices,
            nodes=settings.nodes,
            launch=launch,
            precision=settings.precision,
            out=run.path,
            sync_norms=synchronises_norms(settings.sync_norms, accelerator, usual=usual),
            max_epochs=settings.epochs,
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.optim.clip_grad or None,
            callbacks=self.in_order(),
            enable_progress_bar=self.on_terminal,
            logger=make_loggers(settings.loggers, run, settings=told, first=launch.rank == 0),
            log_every_n_steps=1_000_000,
        )

    def in_order(self) -> list[L.Callback]:
        """Return all callbacks; Lightning calls checkpoints last, `last.ckpt` after `best.ckpt`."""
        settings, run = self.prepared.settings, self.prepared.run
        averaged, waiting = AveragedWeights(settings.ema) if settings.ema else None, InputWait()
        return [
            *([averaged] if averaged else []),
            self.history,
            BestModel(run, averaged),
            NaNGuard(run, scaled=settings.precision == "16"),
            *self.of_options(averaged),
            self.limit,
            waiting,
            ProgressBar(waiting) if self.on_terminal else EpochLines(waiting),
            *self.prepared.own.callbacks,
            *self.checkpoints(),
        ]

    def of_options(self, averaged: AveragedWeights | None) -> list[L.Callback]:
        """Return the callbacks that were asked for."""
        settings, chosen = self.prepared.settings, list[L.Callback]()
        if settings.network.anneals:
            chosen.append(Annealing(settings.network))
        part = settings.network.choose_from
        if part is not None:
            chosen.append(LateChoice(part, settings.seed, averaged))
        if settings.freeze:
            chosen.append(FrozenLayers())
        if settings.patience is not None:
            limits: dict[str, Any] = {
                "patience": settings.patience,
                "min_delta": settings.min_delta,
            }
            chosen.append(RememberedEarlyStopping(self._measure, **limits))
        return chosen

    def checkpoints(self) -> list[L.Callback]:
        """Return the callbacks that write `best.ckpt` and `last.ckpt`."""
        run, settings = self.prepared.run, self.prepared.settings
        command = f"nommer {settings.command} {run.resume_options}"
        return [
            MovableCheckpoint(run.checkpoints, measure=self._measure),
            LastCheckpoint(
                run.last, minutes=settings.checkpoint_minutes, stop=self.stop, command=command
            ),
        ]

    @property
    def _measure(self) -> str:
        kind = self.prepared.task.module.kind_for(self.prepared.settings)
        return f"val_{kind.measure}"
