"""Nominations that start late: a network learns first, and then to choose among its contexts.

From scratch, a heavy loss for balance finds that contexts may be dealt out by place; a network that
has learned something chooses by what it sees (`docs/working-pattern.md`).
"""

from typing import Any, Protocol, cast, runtime_checkable

import lightning as L
import torch

from nommer.nominations.balance import draw_nominators
from nommer.progress import notice
from nommer.tasks.module import TaskModule
from nommer.training.ema import AveragedWeights


@runtime_checkable
class ComparesEpochs(Protocol):
    """A callback that remembers the best epoch so far."""

    def compare_anew(self) -> None:
        """Forget the best epoch so far: the next one is the best."""


class LateChoice(L.Callback):
    """Draws the nominators anew once, from where on contexts are kept in balance.

    The best epoch is one of those after it, since a network of before has chosen nothing.

    Args:
        part: of the epochs, before that, 0 to 1.
        seed: of what is drawn, the same in every process.
        averaged: the EMA of the weights, if there is one; it starts anew.
    """

    def __init__(self, part: float, seed: int, averaged: AveragedWeights | None) -> None:
        self.part, self.seed, self.averaged = part, seed, averaged
        self.is_drawn = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on as the run was, also within an epoch."""
        cast("TaskModule", pl_module).is_choosing = self.is_drawn

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw them; a run that is prolonged later does not again."""
        first = round(self.part * (trainer.max_epochs or 1))
        if self.is_drawn or trainer.current_epoch < first:
            return
        module = cast("TaskModule", pl_module)
        model: Any = module.model
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            draw_nominators(model.backbone, max(model.backbone.config.image_sides))
        if self.averaged is not None:
            self.averaged.start_anew(model)
        for callback in cast("Any", trainer).callbacks:
            if isinstance(callback, ComparesEpochs):
                callback.compare_anew()
        self.is_drawn = module.is_choosing = True
        if trainer.is_global_zero:
            notice(f"epoch {trainer.current_epoch + 1}: from here contexts are chosen anew")

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint has of it."""
        return {"is_drawn": self.is_drawn}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take that over."""
        self.is_drawn = bool(state_dict["is_drawn"])
