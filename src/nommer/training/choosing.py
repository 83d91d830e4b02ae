"""Nominations that start late: a network learns first, and then to choose among its contexts.

From scratch, a loss for balance finds that contexts may be dealt out by place; a network that has
learned something chooses by what it sees (`docs/working-pattern.md`).
"""

from typing import Any

import lightning as L
import torch

from nommer.nominations.balance import draw_nominators
from nommer.progress import notice
from nommer.tasks.module import TaskModule
from nommer.training.ema import AveragedWeights


class LateChoice(L.Callback):
    """Draws the nominators anew before the epoch from which contexts are kept in balance.

    Args:
        seed: of what is drawn, the same in every process.
        averaged: the EMA of the weights, if there is one; it starts anew.
    """

    def __init__(self, seed: int, averaged: AveragedWeights | None) -> None:
        self.seed, self.averaged = seed, averaged

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw them; a run that goes on within the epoch has them already."""
        if not isinstance(pl_module, TaskModule) or trainer.current_epoch != pl_module.choose_from:
            return
        model: Any = pl_module.model
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            draw_nominators(model.backbone, max(model.backbone.config.image_sides))
        if self.averaged is not None:
            self.averaged.start_anew(model)
        if trainer.is_global_zero:
            notice(f"epoch {trainer.current_epoch + 1}: from here contexts are chosen anew")
