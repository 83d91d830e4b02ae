"""The global context, compressed in the frequency domain (paper section 3.2).

Global self-attention over one token per block of pixels: block DCT, grouped 1x1 convolution,
attention, grouped 1x1 convolution, inverse DCT. Its cost grows with the square of the number of
blocks, not of pixels. To compare with, average pooling may take the place of the DCT.

Transform and convolution are both linear, so each pair is one matrix per group, multiplied out from
the weights when it is needed: the coefficients, and the many small operations around them, never
come to be (`docs/performance.md`). `BlockTransform` is the literal twin.
"""

from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nommer.backbone.attention import GlobalAttention
from nommer.backbone.compression import BlockTransform
from nommer.backbone.layout import as_grid, as_maps, crop_grid, pad_maps
from nommer.shapes import NextGrid, TokenGrid

GROUPS = 8
"""Groups of the 1x1 convolutions that squeeze the coefficients of a block into one token and back."""

GroupKernels = Float[Tensor, "groups inputs outputs"]
"""One matrix per group of channels; what belongs to a block is ordered (row, column, channel of the
group).
"""


class SpectralContext(nn.Module):
    """Self-attention between compressed blocks of `block_size` x `block_size` tokens.

    Of a block `kept` x `kept` coefficients stay, by default as published; `compression` is "dct" or
    "average".

    A grid that the blocks do not fill is padded at the right and bottom by replication and cropped
    back.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        block_size: int,
        kept: int | None = None,
        compression: str = "dct",
    ) -> None:
        super().__init__()
        self.transform = BlockTransform(block_size, kept=kept, compression=compression)
        coefficients = width * self.transform.kept**2
        self.compress = nn.Conv2d(coefficients, width, 1, groups=GROUPS, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.attention = GlobalAttention(width, heads=heads)
        self.expand = nn.Conv2d(width, coefficients, 1, groups=GROUPS, bias=False)

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Context of every token from the whole image: (B, rows, columns, width), same shape out."""
        _, rows, columns, _ = grid.shape
        padded = as_grid(pad_maps(as_maps(grid), self.transform.block_size, "replicate"))
        blocks = squeeze_blocks(padded, self.compress_kernels(), self.transform.block_size)
        attended = self.attention(as_grid(self.norm(as_maps(blocks))))
        return crop_grid(
            widen_blocks(attended, self.expand_kernels(), self.transform.block_size), rows, columns
        )

    def compress_kernels(self) -> GroupKernels:
        """Transform, then `compress`: from the tokens of a block to one."""
        basis = self.transform.basis
        weight = rearrange(
            self.compress.weight, "(g o) (c f) 1 1 -> g o c f", g=GROUPS, f=len(basis)
        )
        return einsum(weight, basis.to(weight.dtype), "g o c f, f p -> g p c o").flatten(1, 2)

    def expand_kernels(self) -> GroupKernels:
        """`expand`, then the inverse transform: from one token to those of a block."""
        basis = self.transform.basis
        weight = rearrange(self.expand.weight, "(g c f) n 1 1 -> g n c f", g=GROUPS, f=len(basis))
        return einsum(weight, basis.to(weight.dtype), "g n c f, f p -> g n p c").flatten(2)


def squeeze_blocks(grid: TokenGrid, kernels: GroupKernels, side: int) -> NextGrid:
    """Each side x side block of (B, rows, columns, width) to one token, (B, rows / side, columns /
    side, width).
    """
    rows, columns, groups = grid.shape[1] // side, grid.shape[2] // side, len(kernels)
    blocks = rearrange(grid, "b (h j) (w i) (g c) -> g (b h w) (j i c)", j=side, i=side, g=groups)
    return rearrange(blocks @ kernels, "g (b h w) o -> b h w (g o)", h=rows, w=columns)


def widen_blocks(blocks: TokenGrid, kernels: GroupKernels, side: int) -> NextGrid:
    """One token per block, (B, rows, columns, width), to side x side of them."""
    _, rows, columns, _ = blocks.shape
    tokens = rearrange(blocks, "b h w (g n) -> g (b h w) n", g=len(kernels)) @ kernels
    return rearrange(
        tokens, "g (b h w) (j i c) -> b (h j) (w i) (g c)", h=rows, w=columns, j=side, i=side
    )
