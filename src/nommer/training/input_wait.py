"""The share of the training time that is spent waiting for images."""

import time
from typing import Any

import lightning as L
import torch

BOTTLENECK = 0.25
"""From this share of the time on, a line says so."""


class InputWait(L.Callback):
    """Measures, for each epoch, the share of time between a step's end and the next batch.

    The first batch of an epoch is not counted: workers start then. On a GPU, which works on while
    the next batch is awaited, only what passes until it has nothing left to do counts.
    """

    def __init__(self) -> None:
        self.waited = self.elapsed = 0.0
        self.ended: float | None = None

    @property
    def share(self) -> float:
        """Of the epoch so far, 0 to 1."""
        return self.waited / self.elapsed if self.elapsed else 0.0

    def describe(self) -> str:
        """The share in words where loading holds the training up; nothing where it does not."""
        if self.share < BOTTLENECK:
            return ""
        return (
            f"{self.share:.0%} of the time waiting for images: more --workers or --cache would help"
        )

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew."""
        self.waited = self.elapsed = 0.0
        self.ended = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count what has passed since the step before."""
        self.started = time.perf_counter()
        if self.ended is not None:
            self.elapsed += self.started - self.ended
            if not _is_computing(pl_module.device):
                self.waited += self.started - self.ended

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Remember when the step ended."""
        now = time.perf_counter()
        if self.ended is not None:
            self.elapsed += now - self.started
        self.ended = now


def _is_computing(device: torch.device) -> bool:
    """Return whether a GPU has work left."""
    return device.type == "cuda" and not torch.cuda.current_stream(device).query()
