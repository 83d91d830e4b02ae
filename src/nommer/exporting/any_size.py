"""Modules that look at the size of an image while they compute, written for an open size.

The backbone leaves it open by itself (`backbone.layout.pad_maps`, `backbone.resampling`). In a
segmenter's decoder torch's own pooling to a grid of a given size asks how large its input is.
"""

import copy
from typing import Any, TypeVar

from torch import nn

from nommer.acceleration.replacing import replace_modules
from nommer.backbone.resampling import pooling_weights, resample
from nommer.shapes import FeatureMap, NextMap

Model = TypeVar("Model", bound=nn.Module)


def for_any_size(model: Model) -> Model:
    """A copy of `model` that computes the same and can be exported for images of any size."""
    copied = copy.deepcopy(model)
    replace_modules(
        copied, lambda child: OpenPool(child) if type(child) is nn.AdaptiveAvgPool2d else child
    )
    return copied.eval()


class OpenPool(nn.Module):
    """Average pooling to `side` x `side` cells."""

    def __init__(self, pool: nn.AdaptiveAvgPool2d) -> None:
        super().__init__()
        side: Any = pool.output_size
        self.rows, self.columns = side if isinstance(side, tuple) else (side, side)

    def forward(self, maps: FeatureMap) -> NextMap:
        """Means (B, width, side, side) of maps (B, width, rows, columns)."""
        rows, columns = maps.shape[-2:]
        return resample(
            maps, pooling_weights(rows, self.rows), pooling_weights(columns, self.columns)
        )
