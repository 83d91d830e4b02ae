"""The block DCT, which compresses the global context (paper section 3.2).

Each block of tokens becomes a few coefficients and comes back from them: of its orthonormal 2-D
DCT-II, the lowest frequencies.
"""

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from nommer.shapes import NextGrid, TokenGrid


def dct_basis(block_size: int, kept: int) -> Tensor:
    """Return the orthonormal 2-D DCT-II basis (kept^2, block_size^2) in float64.

    With k = block_size, `basis[v, u][j, i] = 2 C(v) C(u) / k * cos((2j+1) v pi / 2k) cos((2i+1) u
    pi / 2k)`, where C(0) = 1/sqrt(2) and else 1. Rows are `v * kept + u`, columns `j * k + i`.
    """
    frequency = torch.arange(kept, dtype=torch.float64)
    pixel = torch.arange(block_size, dtype=torch.float64)
    cosine = torch.cos((2 * pixel + 1) * frequency[:, None] * math.pi / (2 * block_size))
    scale = torch.where(frequency == 0, math.sqrt(0.5), 1.0)  # C(v)
    rows = cosine * scale[:, None] * math.sqrt(2 / block_size)
    return rearrange(rows[:, None, :, None] * rows[None, :, None, :], "v u j i -> (v u) (j i)")


class BlockTransform(nn.Module):
    """From a token grid to the lowest frequencies of its blocks, and back.

    Of each `block_size` x `block_size` block and channel, `kept` x `kept` coefficients stay, by
    default ceil(block_size / 2) a side, as published. The basis is a constant, not a parameter.
    """

    basis: Tensor

    def __init__(self, block_size: int, *, kept: int | None = None) -> None:
        super().__init__()
        self.block_size = block_size
        self.kept = math.ceil(block_size / 2) if kept is None else kept
        basis = self.make_basis().to(torch.get_default_dtype())
        self.register_buffer("basis", basis, persistent=False)

    def make_basis(self) -> Tensor:
        """Return the rows on which a block is projected, (kept^2, block_size^2) in float64."""
        return dct_basis(self.block_size, self.kept)

    def init_non_persistent_buffers(self) -> None:
        """Fill the basis again after construction on the meta device (timm's convention)."""
        self.basis.copy_(self.make_basis())

    def forward(self, grid: TokenGrid) -> NextGrid:
        """Compress (B, rows, columns, c) to (B, rows / k, columns / k, c * kept^2).

        Sides are multiples of k; output channels are ordered `channel * kept^2 + v * kept + u`.
        """
        side = self.block_size
        blocks = rearrange(grid, "b (h j) (w i) c -> b h w c (j i)", j=side, i=side)
        return (blocks @ self.basis.T.to(blocks.dtype)).flatten(-2)

    def inverse(self, coefficients: TokenGrid) -> NextGrid:
        """Bring (B, rows / k, columns / k, c * kept^2) back to (B, rows, columns, c)."""
        side, kept = self.block_size, self.kept**2
        blocks = rearrange(coefficients, "b h w (c f) -> b h w c f", f=kept)
        pixels = blocks @ self.basis.to(blocks.dtype)
        return rearrange(pixels, "b h w c (j i) -> b (h j) (w i) c", j=side, i=side)
