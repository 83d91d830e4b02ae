"""Compression of the global context.

Each block of tokens becomes a few coefficients, and comes back from them.

As published (paper section 3.2, equation of the DCT), of a block's orthonormal 2-D DCT-II only the
`kept` x `kept` lowest frequencies stay. Average pooling to as many coefficients is there to compare
with: the same module with another basis.
"""

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from nommer.shapes import NextGrid, TokenGrid


def dct_basis(block_size: int, kept: int) -> Tensor:
    """Orthonormal 2-D DCT-II basis (kept^2, block_size^2), float64.

    Rows `v * kept + u`, columns `j * block_size + i`.

    With k = block_size,
    `basis[v, u][j, i] = 2 C(v) C(u) / k * cos((2j+1) v pi / 2k) cos((2i+1) u pi / 2k)` with C(0) =
    1/sqrt(2), else 1.
    """
    frequency = torch.arange(kept, dtype=torch.float64)
    pixel = torch.arange(block_size, dtype=torch.float64)
    cosine = torch.cos((2 * pixel + 1) * frequency[:, None] * math.pi / (2 * block_size))
    cosine = (
        cosine
        * torch.where(frequency == 0, math.sqrt(0.5), 1.0)[:, None]
        * math.sqrt(2 / block_size)
    )
    return rearrange(cosine[:, None, :, None] * cosine[None, :, None, :], "v u j i -> (v u) (j i)")


def average_basis(block_size: int, kept: int) -> Tensor:
    """Basis of average pooling to kept x kept cells, laid out as `dct_basis`.

    Their sides differ by one at most.

    A row is 1 / sqrt(n) on the n positions of its cell, so it gives their mean times sqrt(n): the
    rows are orthonormal, as those of the DCT are, and the inverse gives every position the mean of
    its cell (nearest), which of all grids that are constant in the cells is the closest to the
    original. Both compressions are thus the best projection onto their own functions, and networks
    with either differ in nothing else: same weights, same cost.
    """
    cell = torch.arange(block_size) * kept // block_size
    inside = (cell == torch.arange(kept)[:, None]).double()
    inside = inside / inside.sum(1, keepdim=True).sqrt()
    return rearrange(inside[:, None, :, None] * inside[None, :, None, :], "v u j i -> (v u) (j i)")


BASES = {"dct": dct_basis, "average": average_basis}
"""Compressions by name."""


class BlockTransform(nn.Module):
    """From a token grid to the coefficients of its blocks and back.

    The basis is a constant buffer, not a parameter.

    `kept` coefficients a side stay, by default ceil(block_size / 2), as published.
    """

    basis: Tensor

    def __init__(
        self, block_size: int, *, kept: int | None = None, compression: str = "dct"
    ) -> None:
        super().__init__()
        self.block_size = block_size
        self.kept = math.ceil(block_size / 2) if kept is None else kept
        self.compression = compression
        self.register_buffer("basis", self._basis().to(torch.get_default_dtype()), persistent=False)

    def _basis(self) -> Tensor:
        return BASES[self.compression](self.block_size, self.kept)

    def init_non_persistent_buffers(self) -> None:
        """Fill the constant basis again after construction on the meta device (timm's convention)."""
        self.basis.copy_(self._basis())

    def forward(self, grid: TokenGrid) -> NextGrid:
        """Compress (B, rows, columns, c), sides multiples of block_size, to (B, rows / k, columns /
        k, c * kept^2).

        Output channels are ordered `channel * kept^2 + v * kept + u`.
        """
        side = self.block_size
        blocks = rearrange(grid, "b (h j) (w i) c -> b h w c (j i)", j=side, i=side)
        return (blocks @ self.basis.T.to(blocks.dtype)).flatten(-2)

    def inverse(self, coefficients: TokenGrid) -> NextGrid:
        """Bring (B, rows / k, columns / k, c * kept^2) coefficients back to pixels (B, rows,
        columns, c).
        """
        side, kept = self.block_size, self.kept**2
        blocks = rearrange(coefficients, "b h w (c f) -> b h w c f", f=kept) @ self.basis.to(
            coefficients.dtype
        )
        return rearrange(blocks, "b h w c (j i) -> b (h j) (w i) c", j=side, i=side)
