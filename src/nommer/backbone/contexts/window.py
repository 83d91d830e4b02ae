"""The window context: self-attention inside non-overlapping windows (paper section 3.2).

A grid that the windows do not fill is padded at the right and bottom; a padded position is never a
key.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nommer.backbone.attention import MultiHeadAttention
from nommer.backbone.layout import Side, as_grid, as_maps, crop_grid, pad_maps
from nommer.shapes import TokenGrid


def relative_position_index(side: int) -> Tensor:
    """Row of the bias table for every (query, key) pair of a window, (side^2, side^2) int64.

    For a query at (y1, x1) and a key at (y2, x2): `(y1 - y2 + side - 1) * (2 * side - 1) + (x1 - x2
    + side - 1)`.
    """
    positions = torch.arange(side)
    offset = positions[:, None] - positions[None, :] + side - 1
    rows = offset[:, None, :, None] * (2 * side - 1) + offset[None, :, None, :]
    return rows.reshape(side * side, side * side)


class WindowContext(nn.Module):
    """Multi-head self-attention within windows of `window_size` x `window_size` tokens.

    A learned bias per head and relative position, from a table of (2 * window_size - 1)^2 rows, is
    added to the scores.
    """

    relative_position_index: Tensor

    def __init__(self, width: int, *, heads: int, window_size: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.attention = MultiHeadAttention(width, heads=heads, qkv_bias=True)
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window_size - 1) ** 2, heads)
        )
        self.register_buffer(
            "relative_position_index", relative_position_index(window_size), persistent=False
        )

    def init_non_persistent_buffers(self) -> None:
        """Fill the constant index again after construction on the meta device (timm's convention)."""
        self.relative_position_index.copy_(relative_position_index(self.window_size))

    def position_bias(self) -> Float[Tensor, "1 heads tokens tokens"]:
        """Bias of every (query, key) pair of a window, keys next to each other in memory as fused
        attention asks.
        """
        return self.relative_position_bias_table.T[:, self.relative_position_index][None]

    def padding_bias(
        self, grid: TokenGrid, rows: Side, columns: Side
    ) -> Float[Tensor, "windows 1 1 tokens"]:
        """Minus infinity for the keys outside the first `rows` x `columns` of the padded `grid`,
        else 0.
        """
        batch, padded_rows, padded_columns, _ = grid.shape
        beside = torch.arange(padded_columns, device=grid.device) >= columns
        below = torch.arange(padded_rows, device=grid.device) >= rows
        outside = grid.new_zeros(()).masked_fill(below[:, None] | beside, -torch.inf)
        side = self.window_size
        keys = rearrange(outside, "(h y) (w x) -> (h w) 1 1 (y x)", y=side, x=side)
        return keys.repeat(batch, 1, 1, 1)

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Context of every token from its window: (B, rows, columns, width), same shape out."""
        _, rows, columns, _ = grid.shape
        side, bias = self.window_size, self.position_bias()
        maps = as_maps(grid)
        padded_maps = pad_maps(maps, side, "constant")
        padded = as_grid(padded_maps)
        if padded_maps is not maps:
            bias = bias + self.padding_bias(padded, rows, columns)
        windows = rearrange(padded, "b (h y) (w x) c -> (b h w) (y x) c", y=side, x=side)
        attended = self.attention(windows, bias)
        height, width = padded.shape[1] // side, padded.shape[2] // side
        whole = rearrange(attended, "(b h w) (y x) c -> b (h y) (w x) c", h=height, w=width, y=side)
        return crop_grid(whole, rows, columns)
