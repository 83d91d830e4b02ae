"""Annealing of the nomination: temperature and noise go from one value to another.

A function of the step alone, so that a resumed run goes on exactly. What is published stays at 1
throughout, and then nothing here runs. Both matter in training alone, so a callback sets them, and
the network's description does not have them.
"""

from typing import Any

import lightning as L
from torch import nn

from nommer.backbone.nominator import Nomination
from nommer.settings.network import PUBLISHED_NOISE, NetworkOptions


class Annealing(L.Callback):
    """Sets temperature and noise of every nomination before each step, on a straight line."""

    def __init__(self, options: NetworkOptions) -> None:
        self.options = options

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set what this step has."""
        done = trainer.global_step / max(1, trainer.estimated_stepping_batches - 1)
        anneal(pl_module, self.options, done)


def anneal(network: nn.Module, options: NetworkOptions, done: float) -> None:
    """Give every nomination the temperature and noise of a share `done` (0 to 1) of a training."""
    for module in network.modules():
        if isinstance(module, Nomination):
            module.temperature.fill_(_between(options.temperature, done))
            module.noise_scale.fill_(_between(options.noise or PUBLISHED_NOISE, done))


def _between(pair: tuple[float, float], done: float) -> float:
    """The value at a share `done` (0 to 1) of the way."""
    start, end = pair
    return start + (end - start) * min(1.0, done)
