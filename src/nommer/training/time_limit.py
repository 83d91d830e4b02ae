"""A run that ends in time: saved so that it can go on, and evaluated as far as it came."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L

from nommer.distributed.interruption import StopSignals, TimeUp
from nommer.progress import notice
from nommer.settings.durations import parse_duration


class TimeLimit(L.Callback):
    """Asks for a stop when time is up, but for what the last validation took.

    The best model is evaluated once more.

    Args:
        limit: duration of the whole command, data and evaluation included; None for no limit.
        stop: who is asked, and knows when the command began.
    """

    def __init__(self, limit: str | None, stop: StopSignals) -> None:
        self.limit, self.stop = limit, stop
        self.deadline = stop.started + parse_duration(limit) if limit else float("inf")
        self._validation_seconds = 0.0
        self._validation_started = 0.0

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of a validation."""
        self._validation_started = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep what it took."""
        self._validation_seconds = time.monotonic() - self._validation_started

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look at the clock; who saves comes after."""
        self._look(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the clock."""
        self._look(trainer)

    def _look(self, trainer: L.Trainer) -> None:
        if self.limit is None or self.stop.time_up:
            return
        late = time.monotonic() + self._validation_seconds >= self.deadline
        self.stop.time_up = trainer.strategy.reduce_boolean_decision(late, all=False)
        if self.stop.time_up:
            self.stop.asked = self.stop.asked or signal.SIGTERM

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Let a training that this limit ended be one that ended."""
        try:
            yield
        except TimeUp:
            notice(f"stopped by --time-limit {self.limit}{self.stop.hint}")
