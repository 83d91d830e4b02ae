"""The global context, compressed in the frequency domain (paper section 3.2).

Global self-attention over one token per block of tokens, so its cost grows with the square of the
number of blocks, not of tokens.
"""

from torch import nn

from nommer.backbone.attention import GlobalAttention
from nommer.backbone.compression import BlockTransform
from nommer.backbone.config import GROUPS
from nommer.backbone.layout import as_grid, as_maps, crop_grid, pad_grid
from nommer.shapes import TokenGrid


class SpectralContext(nn.Module):
    """Block DCT, squeeze each block into one token, attend, widen, inverse DCT.

    Squeezing and widening are 1x1 convolutions with `GROUPS` groups. A grid that the blocks do not
    fill is padded at the right and bottom by replication and cropped back.
    """

    def __init__(self, width: int, *, heads: int, transform: BlockTransform) -> None:
        super().__init__()
        self.transform = transform
        coefficients = width * transform.kept**2
        self.compress = nn.Conv2d(coefficients, width, 1, groups=GROUPS, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.attention = GlobalAttention(width, heads=heads)
        self.expand = nn.Conv2d(width, coefficients, 1, groups=GROUPS, bias=False)

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Context of every token from the whole image: (B, rows, columns, width), same out."""
        frequencies = self.transform(pad_grid(grid, self.transform.block_size, "replicate"))
        squeezed = self.norm(self.compress(as_maps(frequencies)))
        attended = self.attention(as_grid(squeezed))
        widened = self.expand(as_maps(attended))
        return crop_grid(self.transform.inverse(as_grid(widened)), *grid.shape[1:3])
