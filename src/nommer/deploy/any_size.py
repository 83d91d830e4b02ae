"""Parts that look at the size of an image while they compute, written so that the size may stay open in an export.

Elsewhere padding is enough, and `backbone.layout.pad_maps` leaves it open by itself. Here torch's own operations ask
how large their input is: resampling the position embedding, and pooling to a grid of a given size. Both are linear and
separable, so they are products with two matrices, which are computed from the sizes.
"""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn

from nommer.backbone.layout import Side, as_grid, as_maps
from nommer.backbone.stage import PositionStage
from nommer.shapes import FeatureMap, NextMap, TokenGrid

Model = TypeVar("Model", bound=nn.Module)

Weights = Float[Tensor, "after before"]
"""What each cell after resampling, or pooling, along one side takes of each cell before."""


def for_any_size(model: Model) -> Model:
    """A copy of `model` that computes the same and can be exported for images of any size."""
    copied = copy.deepcopy(model)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in _OPEN:
                setattr(parent, name, _OPEN[type(child)](child))
    return copied.eval()


def bicubic_weights(before: Side, after: Side) -> Weights:
    """Of bicubic, antialiased resampling from `before` to `after` cells, as `torch.nn.functional.interpolate` has it.

    Source: Keys, "Cubic convolution interpolation" (1981), with a = -0.5, widened where it shrinks.
    """
    ratio = before / _count(after)
    middles = (torch.arange(after) + 0.5) * ratio
    distances = (torch.arange(before) + 0.5 - middles[:, None]).abs() / ratio.clamp_min(1)
    near = (1.5 * distances - 2.5) * distances**2 + 1
    far = ((-0.5 * distances + 2.5) * distances - 4) * distances + 2
    weights = torch.where(distances <= 1, near, torch.where(distances < 2, far, 0))
    return weights / weights.sum(1, keepdim=True)


def pooling_weights(before: Side, after: Side) -> Weights:
    """Of `adaptive_avg_pool2d` from `before` to `after` cells: the mean of those that each covers, in part or whole."""
    cells = torch.arange(after)
    first, last = cells * before // after, ((cells + 1) * before + after - 1) // after
    inside = (torch.arange(before) >= first[:, None]) & (torch.arange(before) < last[:, None])
    return inside / (last - first)[:, None]


def resample(
    maps: FeatureMap, rows: Float[Tensor, "next_rows rows"], columns: Float[Tensor, "next_columns columns"]
) -> NextMap:
    """Maps (B, width, rows, columns) after both sides are multiplied by their weights."""
    return einsum(maps, rows.to(maps), columns.to(maps), "b w h v, y h, x v -> b w y x")


class OpenPositionStage(PositionStage):
    """Stage 3, whose position embedding is resampled whatever the size, also its own."""

    def __init__(self, stage: PositionStage) -> None:
        nn.Module.__init__(self)
        self.downsample, self.blocks, self.pos_embed = stage.downsample, stage.blocks, stage.pos_embed

    def embed(self, grid: TokenGrid) -> TokenGrid:
        """Add the position of every token."""
        _, rows, columns, _ = grid.shape
        _, height, width, _ = self.pos_embed.shape
        weights = bicubic_weights(height, rows), bicubic_weights(width, columns)
        return grid + as_grid(resample(as_maps(self.pos_embed), *weights))


class OpenPool(nn.Module):
    """Average pooling to `side` x `side` cells."""

    def __init__(self, pool: nn.AdaptiveAvgPool2d) -> None:
        super().__init__()
        side: Any = pool.output_size
        self.rows, self.columns = side if isinstance(side, tuple) else (side, side)

    def forward(self, maps: FeatureMap) -> NextMap:
        """Means (B, width, side, side) of maps (B, width, rows, columns)."""
        rows, columns = maps.shape[-2:]
        return resample(maps, pooling_weights(rows, self.rows), pooling_weights(columns, self.columns))


def _count(number: Side) -> Tensor:
    """A number as a tensor, though it may still be open."""
    return torch.ones(()) * number


_OPEN: dict[type[nn.Module], Callable[..., nn.Module]] = {
    PositionStage: OpenPositionStage,
    nn.AdaptiveAvgPool2d: OpenPool,
}
