"""The checkpoint to go on from.

The end of every epoch, so many minutes later, and where a run is asked to stop.
"""

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from torch import nn

from nommer.data.seeding import EpochSampler
from nommer.distributed.interruption import Stopped, StopSignals, TimeUp
from nommer.runs.checkpoint import open_checkpoint

BEFORE_VALIDATION = 60.0
"""Seconds of training that are saved before a validation begins."""

_VALIDATION = "epoch_loop.val_loop.batch_progress"
"""The progress of a validation in the state of Lightning's loops."""

_PENDING: dict[str, Any] = {
    "total": {"ready": 1, "started": 1, "processed": 0, "completed": 0},
    "current": {"ready": 0, "started": 0, "processed": 0, "completed": 0},
    "is_last_batch": False,
}
"""Lightning's note of an epoch that is trained and whose validation has not begun."""


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    epochs: int
    """Epochs that are done, with their validation."""
    batches: int
    """Batches of the next one that are done, in each process."""

    def __str__(self) -> str:
        if not self.batches:
            return f"the end of epoch {self.epochs}"
        return f"epoch {self.epochs + 1}, after its step {self.batches}"


def read_progress(path: Path) -> Progress:
    """Read how far a run was when a checkpoint was written.

    Raises:
        InputError: it cannot be read.
    """
    loops = open_checkpoint(path, mmap=True)["loops"]["fit_loop"]
    epochs = loops["epoch_progress"]["current"]
    unfinished = epochs["started"] > epochs["processed"]
    batches = loops["epoch_loop.batch_progress"]["current"]["processed"] if unfinished else 0
    return Progress(epochs["processed"], batches)


class LastCheckpoint(Checkpoint):
    """Replaces `path` after every epoch, between two steps once it is old, and before a stop.

    A run that goes on from it takes the batches that follow, so that nothing tells it from one that
    was not interrupted. Lightning calls it after all other callbacks, so it holds their state.

    Args:
        path: the checkpoint.
        minutes: how old it may become within an epoch; 0 saves after every step.
        stop: who asks for a stop.
        command: what goes on with the run.
    """

    def __init__(self, path: Path, *, minutes: float, stop: StopSignals, command: str) -> None:
        self.path, self.seconds, self.stop, self.command = path, 60 * minutes, stop, command
        self.saved = time.monotonic()
        self._is_current = False
        self._validation_pending = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Know how to go on, where there is something to go on from."""
        self.stop.hint = self._hint()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """From here on there is nothing to wait for."""
        self.stop.stop_deferring()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """As above."""
        self.stop.stop_deferring()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on with the batch after those that the checkpoint has seen.

        From here on a run can be saved, so signals wait until it is. Lightning has just put its own
        answers in place, of which that to SIGTERM talks to the other processes from wherever it
        interrupts this one, and hangs.
        """
        self.stop.defer()
        self.saved = time.monotonic()
        loop, loader = trainer.fit_loop, cast("Any", trainer.train_dataloader)
        self._is_current = loop.is_resuming
        if loop.restarted_mid_epoch:
            epoch, batches = trainer.current_epoch, loop.epoch_loop.batch_progress.current.ready
            cast("EpochSampler", loader.sampler).skip(epoch, batches * loader.batch_size)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop between two epochs, where that is asked for."""
        if self._is_current:
            self._stop_if_asked(trainer)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save an old checkpoint anew, or before stopping.

        Gradients that are still added up are not saved: then the step is finished first.
        """
        self._is_current = False
        loop = trainer.fit_loop.epoch_loop
        if not loop._should_accumulate() and not loop._num_ready_batches_reached():
            self._save_if_due(trainer, self.seconds)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save before what may take long."""
        self._validation_pending = True
        try:
            self._save_if_due(trainer, min(self.seconds, BEFORE_VALIDATION))
        finally:
            self._validation_pending = False

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop in a validation before which everything was saved.

        Processes may have other numbers of batches.
        """
        if self._is_current and trainer.world_size == 1:
            self._stop_if_asked(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the epoch."""
        self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop before the last evaluation, where that is asked for."""
        if self._is_current:
            self._stop_if_asked(trainer)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let a run that goes on begin with the validation, where that comes next.

        A validation is never continued: it begins anew, from the weights that were saved before it.
        """
        if self._validation_pending:
            checkpoint["loops"]["fit_loop"][_VALIDATION] = _PENDING

    def _save_if_due(self, trainer: L.Trainer, seconds: float) -> None:
        agree, asked = trainer.strategy.reduce_boolean_decision, self.stop.asked is not None
        if agree(asked or time.monotonic() - self.saved >= seconds, all=False):
            if agree(
                has_finite_weights(trainer.lightning_module)
            ):  # or else the one before is the last good one
                self._save(trainer)
            self._stop_if_asked(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.saved, self._is_current = time.monotonic(), True
        self.stop.hint = self._hint()

    def _stop_if_asked(self, trainer: L.Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self.stop.asked is not None, all=False):
            if self.stop.time_up:
                raise TimeUp
            asked = self.stop.asked or signal.SIGTERM  # where another process was asked
            raise Stopped(asked, f"stopped by {signal.Signals(asked).name}{self._hint()}")

    def _hint(self) -> str:
        if not self.path.is_file():
            return ""
        return f"; {self.path} is from {read_progress(self.path)}; go on with: {self.command}"


def has_finite_weights(module: nn.Module) -> bool:
    """Return whether all parameters of `module` are finite."""
    return all(bool(parameter.isfinite().all()) for parameter in module.parameters())
