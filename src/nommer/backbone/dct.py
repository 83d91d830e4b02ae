"""The block-wise discrete cosine transform that compresses the global context (paper section 3.2, equation of the DCT).

Each channel is cut into `block_size` x `block_size` blocks; of a block's orthonormal 2-D DCT-II only the
`kept` x `kept` lowest frequencies stay. The inverse brings them back to pixels with the same basis.
"""

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from nommer.shapes import NextGrid, TokenGrid


def dct_basis(block_size: int, kept: int) -> Tensor:
    """Orthonormal 2-D DCT-II basis (kept^2, block_size^2), float64: rows `v * kept + u`, columns `j * block_size + i`.

    With k = block_size,
    `basis[v, u][j, i] = 2 C(v) C(u) / k * cos((2j+1) v pi / 2k) cos((2i+1) u pi / 2k)` with C(0) = 1/sqrt(2), else 1.
    """
    frequency = torch.arange(kept, dtype=torch.float64)
    pixel = torch.arange(block_size, dtype=torch.float64)
    cosine = torch.cos((2 * pixel + 1) * frequency[:, None] * math.pi / (2 * block_size))
    cosine = cosine * torch.where(frequency == 0, math.sqrt(0.5), 1.0)[:, None] * math.sqrt(2 / block_size)
    return rearrange(cosine[:, None, :, None] * cosine[None, :, None, :], "v u j i -> (v u) (j i)")


class BlockDCT(nn.Module):
    """Forward and inverse block DCT of a token grid; the basis is a constant buffer, not a parameter.

    `kept` is ceil(block_size / 2) frequencies a side, as published.
    """

    basis: Tensor

    def __init__(self, block_size: int) -> None:
        super().__init__()
        self.block_size = block_size
        self.kept = math.ceil(block_size / 2)
        self.register_buffer("basis", dct_basis(block_size, self.kept).to(torch.get_default_dtype()), persistent=False)

    def init_non_persistent_buffers(self) -> None:
        """Fill the constant basis again after construction on the meta device (timm's convention)."""
        self.basis.copy_(dct_basis(self.block_size, self.kept))

    def forward(self, grid: TokenGrid) -> NextGrid:
        """Compress (B, rows, columns, c), sides multiples of block_size, to (B, rows / k, columns / k, c * kept^2).

        Output channels are ordered `channel * kept^2 + v * kept + u`.
        """
        side = self.block_size
        blocks = rearrange(grid, "b (h j) (w i) c -> b h w c (j i)", j=side, i=side)
        return (blocks @ self.basis.T.to(blocks.dtype)).flatten(-2)

    def inverse(self, coefficients: TokenGrid) -> NextGrid:
        """Bring (B, rows / k, columns / k, c * kept^2) coefficients back to pixels (B, rows, columns, c)."""
        side, frequencies = self.block_size, self.kept**2
        blocks = rearrange(coefficients, "b h w (c f) -> b h w c f", f=frequencies) @ self.basis.to(coefficients.dtype)
        return rearrange(blocks, "b h w c (j i) -> b (h j) (w i) c", j=side, i=side)
