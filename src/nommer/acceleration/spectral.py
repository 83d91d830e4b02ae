"""The global context with the block DCT and the convolution next to it multiplied out.

Both are linear, so each pair is one matrix per group: the coefficients, and the small operations
around them, never come to be. On a GPU cuDNN would besides cut a grouped convolution into slices
(`docs/performance.md`). The literal twin is `backbone.contexts.spectral`.
"""

from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from nommer.backbone.config import GROUPS
from nommer.backbone.contexts import SpectralContext
from nommer.backbone.layout import as_grid, as_maps, crop_grid, pad_grid
from nommer.shapes import NextGrid, TokenGrid

GroupKernels = Float[Tensor, "groups inputs outputs"]
"""One matrix per group of channels; rows or columns of a block are (row, column, channel)."""


class MultipliedSpectralContext(SpectralContext):
    """The global context, its matrices multiplied out from the weights at every call."""

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Context of every token from the whole image: (B, rows, columns, width), same out."""
        side = self.transform.block_size
        padded = pad_grid(grid, side, "replicate")
        squeezed = squeeze_blocks(padded, squeezing_kernels(self), side)
        attended = self.attention(as_grid(self.norm(as_maps(squeezed))))
        return crop_grid(widen_blocks(attended, widening_kernels(self), side), *grid.shape[1:3])


def squeezing_kernels(context: SpectralContext) -> GroupKernels:
    """Multiply out the transform, then `compress`: from the tokens of a block to one."""
    basis, weight = context.transform.basis, context.compress.weight
    weight = rearrange(weight, "(g o) (c f) 1 1 -> g o c f", g=GROUPS, f=len(basis))
    return einsum(weight, basis.to(weight.dtype), "g o c f, f p -> g p c o").flatten(1, 2)


def widening_kernels(context: SpectralContext) -> GroupKernels:
    """Multiply out `expand`, then the inverse transform: from one token to those of a block."""
    basis, weight = context.transform.basis, context.expand.weight
    weight = rearrange(weight, "(g c f) n 1 1 -> g n c f", g=GROUPS, f=len(basis))
    return einsum(weight, basis.to(weight.dtype), "g n c f, f p -> g n p c").flatten(2)


def squeeze_blocks(grid: TokenGrid, kernels: GroupKernels, side: int) -> NextGrid:
    """Make one token of each side x side block of (B, rows, columns, width)."""
    rows, columns, groups = grid.shape[1] // side, grid.shape[2] // side, len(kernels)
    blocks = rearrange(grid, "b (h j) (w i) (g c) -> g (b h w) (j i c)", j=side, i=side, g=groups)
    return rearrange(blocks @ kernels, "g (b h w) o -> b h w (g o)", h=rows, w=columns)


def widen_blocks(blocks: TokenGrid, kernels: GroupKernels, side: int) -> NextGrid:
    """Make side x side tokens of each block of (B, rows, columns, width)."""
    _, rows, columns, _ = blocks.shape
    tokens = rearrange(blocks, "b h w (g n) -> g (b h w) n", g=len(kernels)) @ kernels
    return rearrange(
        tokens, "g (b h w) (j i c) -> b (h j) (w i) (g c)", h=rows, w=columns, j=side, i=side
    )
