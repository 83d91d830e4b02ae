"""One image per batch: refused where a batch norm would see a single value per channel."""

import copy
from typing import Any

import torch

from nommer.errors import InputError
from nommer.settings.train import TrainSettings
from nommer.training.freezing import frozen_modules

_COMPLAINT = "Expected more than 1 value per channel"
"""Torch's, of a batch norm in training."""


def check_batch_of_one(network: Any, settings: TrainSettings) -> None:
    """Refuse batches of one image that the network cannot learn from.

    Tried without computing: on the meta device.

    Raises:
        InputError: a batch norm has nothing to take the mean of.
    """
    side = settings.image_size or settings.detection.short_side
    if settings.images_per_step > 1 or side is None:
        return
    tried = copy.deepcopy(network).to("meta").train()
    tried = getattr(tried, "backbone", tried) if settings.image_size is None else tried
    for module in frozen_modules(tried):
        module.eval()
    try:
        with torch.no_grad():
            tried(torch.zeros(1, 3, side, side, device="meta"))
    except ValueError as error:
        if _COMPLAINT in str(error):
            raise InputError(
                f"--batch-size 1: at {side} pixels a batch norm of {settings.model} would see one "
                "value per channel, which teaches nothing; use --batch-size 2 or more, larger "
                "images, or a smaller --network.patch-size"
            ) from error
    except (RuntimeError, NotImplementedError):  # operators that the meta device does not have
        return
