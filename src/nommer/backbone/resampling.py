"""Resampling and pooling as products with two matrices, computed from the sizes, which may
therefore stay open.

torch's own operations are as good where the size is known, but fix it when they are exported, or
have no backward pass for an open one when they are compiled. Both are linear and separable, so the
products give the same numbers.
"""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from nommer.backbone.layout import Side
from nommer.shapes import FeatureMap, NextMap

Weights = Float[Tensor, "after before"]
"""What each cell after resampling, or pooling, along one side takes of each cell before."""


def bicubic_weights(before: Side, after: Side, device: torch.device | None = None) -> Weights:
    """Of bicubic, antialiased resampling from `before` to `after` cells, as
    `torch.nn.functional.interpolate` has it.

    Source: Keys, "Cubic convolution interpolation" (1981), with a = -0.5, widened where it shrinks.
    """
    ratio = before / (
        torch.ones((), device=device) * after
    )  # a tensor, though the number may be open
    middles = (torch.arange(after, device=device) + 0.5) * ratio
    distances = (
        torch.arange(before, device=device) + 0.5 - middles[:, None]
    ).abs() / ratio.clamp_min(1)
    near = (1.5 * distances - 2.5) * distances**2 + 1
    far = ((-0.5 * distances + 2.5) * distances - 4) * distances + 2
    weights = torch.where(distances <= 1, near, torch.where(distances < 2, far, 0))
    return weights / weights.sum(1, keepdim=True)


def pooling_weights(before: Side, after: Side) -> Weights:
    """Of `adaptive_avg_pool2d` from `before` to `after` cells.

    The mean of those that each covers, in part or whole.
    """
    cells = torch.arange(after)
    first, last = cells * before // after, ((cells + 1) * before + after - 1) // after
    inside = (torch.arange(before) >= first[:, None]) & (torch.arange(before) < last[:, None])
    return inside / (last - first)[:, None]


def resample(
    maps: FeatureMap,
    rows: Float[Tensor, "next_rows rows"],
    columns: Float[Tensor, "next_columns columns"],
) -> NextMap:
    """Maps (B, width, rows, columns) after both sides are multiplied by their weights."""
    return einsum(maps, rows.to(maps), columns.to(maps), "b w h v, y h, x v -> b w y x")
