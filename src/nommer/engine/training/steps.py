"""Single training steps outside of a training: to measure one, or to do one again."""

import warnings
from typing import Any, cast

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from nommer.engine.task import Task
from nommer.engine.trainer import Precision

_AUTOCAST = {"bf16": torch.bfloat16, "16": torch.float16}


def move(batch: Any, device: str) -> Any:
    """A batch on a device, of whatever kind it is."""
    return move_data_to_device(batch, device)


def step_loss(task: Task, batch: Any, number: int, *, precision: Precision) -> Tensor:
    """The training loss of a batch, computed as in training."""
    kind = task.device.type
    with warnings.catch_warnings(), torch.autocast(kind, _AUTOCAST.get(precision), enabled=precision in _AUTOCAST):
        warnings.filterwarnings("ignore", message=".*self.trainer. reference is not registered.*")
        return cast("Tensor", task.training_step(batch, number))
