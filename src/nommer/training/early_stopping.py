"""Early stopping with patience, Lightning's, which a resumed run remembers."""

from typing import cast

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping

from nommer.progress import notice
from nommer.tasks.module import TaskModule


class RememberedEarlyStopping(EarlyStopping):
    """Ends a training whose models get no better.

    Args:
        measure: what Lightning calls the number that is to grow.
        patience: epochs in a row without a better model.
        min_delta: by how much a better one must be better.
    """

    def __init__(self, measure: str, *, patience: int, min_delta: float) -> None:
        super().__init__(
            measure,
            min_delta=min_delta,
            patience=patience,
            mode="max",
            check_on_train_epoch_end=True,
        )

    @property
    def state_key(self) -> str:
        """The name in checkpoints, which older ones know too."""
        return f"Patience{{'monitor': {self.monitor!r}, 'mode': {self.mode!r}}}"

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A run that has stopped early stays so."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True
            notice(
                f"stopped early, {self.patience} epochs after the best model so far: nothing to "
                "train"
            )

    def compare_anew(self) -> None:
        """Forget the best epoch so far: the next one is the best."""
        self.wait_count, self.best_score = 0, torch.tensor(-torch.inf)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop, and say so; not before contexts are chosen, where that begins late."""
        if not cast("TaskModule", pl_module).is_choosing:
            return
        super().on_train_epoch_end(trainer, pl_module)
        if self.wait_count >= self.patience:
            notice(f"stopped early: {self.patience} epochs after the best model so far")
