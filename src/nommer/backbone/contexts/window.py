"""The window context: self-attention inside non-overlapping windows (paper section 3.2).

A grid that the windows do not fill is padded at the right and bottom; a padded position is never a
key.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nommer.backbone.attention import MultiHeadAttention
from nommer.backbone.layout import Side, crop_grid, pad_grid
from nommer.shapes import NextGrid, TokenGrid

Windows = Float[Tensor, "windows window_tokens width"]
"""The tokens of every window of every image of a batch."""


def relative_position_index(side: int) -> Tensor:
    """Return the row of the bias table for every (query, key) of a window, (side^2, side^2) int64.

    Of a query at (y1, x1) and a key at (y2, x2) it is `(y1 - y2 + side - 1) * (2 * side - 1) + (x1
    - x2 + side - 1)`.
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
        rows = (2 * window_size - 1) ** 2
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, heads))
        index = relative_position_index(window_size)
        self.register_buffer("relative_position_index", index, persistent=False)

    def init_non_persistent_buffers(self) -> None:
        """Fill the index again after construction on the meta device (timm's convention)."""
        self.relative_position_index.copy_(relative_position_index(self.window_size))

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Context of every token from its window: (B, rows, columns, width), same out."""
        padded = pad_grid(grid, self.window_size, "constant")
        windows = split_into_windows(padded, self.window_size)
        attended = self.attention(windows, self.score_bias(grid, padded))
        return crop_grid(join_windows(attended, padded, self.window_size), *grid.shape[1:3])

    def score_bias(
        self, grid: TokenGrid, padded: NextGrid
    ) -> Float[Tensor, "#windows heads tokens tokens"]:
        """Return what is added to the scores: the position's bias, and that of padding if any."""
        if padded is grid:
            return self.position_bias()
        return self.position_bias() + self.padding_bias(padded, *grid.shape[1:3])

    def position_bias(self) -> Float[Tensor, "1 heads tokens tokens"]:
        """Return the bias of every (query, key) pair of a window.

        Keys lie next to each other in memory; otherwise fused attention refuses the bias, and torch
        computes unfused in silence.
        """
        return self.relative_position_bias_table.T[:, self.relative_position_index][None]

    def padding_bias(
        self, padded: TokenGrid, rows: Side, columns: Side
    ) -> Float[Tensor, "windows 1 1 tokens"]:
        """Return minus infinity for keys outside the first `rows` x `columns`, 0 for the others."""
        batch, padded_rows, padded_columns, _ = padded.shape
        beside = torch.arange(padded_columns, device=padded.device) >= columns
        below = torch.arange(padded_rows, device=padded.device) >= rows
        outside = padded.new_zeros(()).masked_fill(below[:, None] | beside, -torch.inf)
        side = self.window_size
        keys = rearrange(outside, "(h y) (w x) -> (h w) 1 1 (y x)", y=side, x=side)
        return keys.repeat(batch, 1, 1, 1)


def split_into_windows(grid: TokenGrid, side: int) -> Windows:
    """Cut a grid, whose sides are multiples of `side`, into windows of `side` x `side` tokens."""
    return rearrange(grid, "b (h y) (w x) c -> (b h w) (y x) c", y=side, x=side)


def join_windows(windows: Windows, grid: TokenGrid, side: int) -> TokenGrid:
    """Put windows of `side` x `side` tokens where those of `grid` lie."""
    down, across = grid.shape[1] // side, grid.shape[2] // side
    return rearrange(windows, "(b h w) (y x) c -> b (h y) (w x) c", h=down, w=across, y=side)
