"""Resampling of the position embedding, and resampling and pooling for sides that are open.

torch's own operations fix the sides when they are exported, or have no backward pass for open ones
when they are compiled. Both are linear and separable, so they can be written as products with two
matrices, which are computed from the sides and give the same numbers.
"""

import torch
import torch.nn.functional as F
from einops import einsum
from jaxtyping import Float
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

from nommer.backbone.layout import Side, as_grid, as_maps
from nommer.shapes import FeatureMap, NextMap

Weights = Float[Tensor, "after before"]
"""Part of each cell before that a cell after resampling, or pooling, along one side takes."""


def resample_position(
    position: Tensor, grid_size: tuple[int, int]
) -> Float[Tensor, "1 rows columns width"]:
    """Return the position embedding (1, h, w, width) at `grid_size` (rows, columns).

    At its own size it is returned itself; else it is resampled (bicubic, antialiased), in float32
    at least, as timm's `resample_abs_pos_embed` does: the description of the network asks for
    bicubic resampling and leaves antialiasing open.
    """
    sides = list(zip(position.shape[1:3], grid_size, strict=True))
    if all(statically_known_true(before == after) for before, after in sides):
        return position
    maps = as_maps(position).to(torch.promote_types(position.dtype, torch.float32))
    if torch.compiler.is_compiling():  # the size may be open
        rows, columns = (bicubic_weights(before, after, maps.device) for before, after in sides)
        resampled = resample(maps, rows, columns)
    else:
        resampled = F.interpolate(maps, size=grid_size, mode="bicubic", antialias=True)
    return as_grid(resampled).to(position.dtype)


def bicubic_weights(before: Side, after: Side, device: torch.device | None = None) -> Weights:
    """Return the weights of bicubic, antialiased resampling, as `F.interpolate` has it.

    Source: Keys, "Cubic convolution interpolation" (1981), with a = -0.5, widened where it shrinks.
    """
    number_of_cells = torch.ones((), device=device) * after  # a tensor, though `after` may be open
    ratio = before / number_of_cells
    middles = (torch.arange(after, device=device) + 0.5) * ratio
    offsets = torch.arange(before, device=device) + 0.5 - middles[:, None]
    distances = offsets.abs() / ratio.clamp_min(1)
    near = (1.5 * distances - 2.5) * distances**2 + 1
    far = ((-0.5 * distances + 2.5) * distances - 4) * distances + 2
    weights = torch.where(distances <= 1, near, torch.where(distances < 2, far, 0))
    return weights / weights.sum(1, keepdim=True)


def pooling_weights(before: Side, after: Side) -> Weights:
    """Return the weights of `adaptive_avg_pool2d`: the mean of the cells covered, even in part."""
    cells = torch.arange(after)
    first, last = cells * before // after, ((cells + 1) * before + after - 1) // after
    inside = (torch.arange(before) >= first[:, None]) & (torch.arange(before) < last[:, None])
    return inside / (last - first)[:, None]


def resample(
    maps: FeatureMap,
    rows: Float[Tensor, "next_rows rows"],
    columns: Float[Tensor, "next_columns columns"],
) -> NextMap:
    """Multiply both sides of maps (B, width, rows, columns) by their weights."""
    return einsum(maps, rows.to(maps), columns.to(maps), "b w h v, y h, x v -> b w y x")
