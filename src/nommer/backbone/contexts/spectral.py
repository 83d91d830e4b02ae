"""The global context, compressed in the frequency domain (paper section 3.2).

Global self-attention over one token per block of pixels: block DCT, grouped 1x1 convolution, attention,
grouped 1x1 convolution, inverse DCT. Its cost grows with the square of the number of blocks, not of pixels.
To compare with, average pooling may take the place of the DCT.
"""

from torch import nn

from nommer.backbone.attention import GlobalAttention
from nommer.backbone.compression import BlockTransform
from nommer.backbone.layout import as_grid, as_maps, pad_maps
from nommer.shapes import TokenGrid

GROUPS = 8
"""Groups of the 1x1 convolutions that squeeze the coefficients of a block into one token and back."""


class SpectralContext(nn.Module):
    """Self-attention between compressed blocks of `block_size` x `block_size` tokens.

    Of a block `kept` x `kept` coefficients stay, by default as published; `compression` is "dct" or "average".

    A grid that the blocks do not fill is padded at the right and bottom by replication and cropped back.
    """

    def __init__(
        self, width: int, *, heads: int, block_size: int, kept: int | None = None, compression: str = "dct"
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
        blocks = as_grid(self.norm(self.compress(as_maps(self.transform(padded)))))
        attended = as_maps(self.attention(blocks))
        return self.transform.inverse(as_grid(self.expand(attended)))[:, :rows, :columns]
