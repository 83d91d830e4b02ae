"""Single training steps outside of a training: to measure one, or to do one again."""

import warnings
from typing import Any, cast

from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from nommer.inference.precision import autocast
from nommer.settings.choices import Precision
from nommer.tasks.module import TaskModule


def move(batch: Any, device: str) -> Any:
    """A batch on a device, of whatever kind it is."""
    return move_data_to_device(batch, device)


def step_loss(task: TaskModule, batch: Any, number: int, *, precision: Precision) -> Tensor:
    """The training loss of a batch, computed as in training."""
    with warnings.catch_warnings(), autocast(task.device.type, precision):
        warnings.filterwarnings("ignore", message=".*self.trainer. reference is not registered.*")
        return cast("Tensor", task.training_step(batch, number))
