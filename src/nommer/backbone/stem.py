"""From pixels to the first token grid, and from one stage's grid to the next (section 3.1)."""

import torch
import torch.nn.functional as F
from torch import nn

from nommer.backbone.layout import as_grid, as_maps, pad_maps
from nommer.shapes import Images, NextGrid, NextMap, TokenGrid


class Stem(nn.Module):
    """Convolution whose kernel and stride are both `patch_size`, batch norm, ReLU.

    An image that the patches do not fill is padded with zeros at the right and bottom.
    """

    def __init__(self, in_chans: int, width: int, *, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.conv = nn.Conv2d(in_chans, width, patch_size, stride=patch_size, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, images: Images) -> TokenGrid:
        """Images (B, channels, H, W) to tokens, (B, ceil(H / stride), ceil(W / stride), width)."""
        patches = whole_patches(images, self.patch_size)
        return as_grid(F.relu(self.norm(self.conv(patches))))


def whole_patches(images: Images, patch_size: int) -> NextMap:
    """Pad images with zeros until patches fill them, and lay them out with the channels last.

    So the first convolution already gives token grids, and nothing is copied into another layout.
    """
    return pad_maps(images, patch_size, "constant").contiguous(memory_format=torch.channels_last)


class Downsample(nn.Module):
    """Between stages: 3x3 convolution `width` -> `out_width`, max-pool 2x2, layer norm.

    An odd side keeps its last row or column (ceil mode), so a grid of n tokens becomes ceil(n / 2).
    """

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, out_width, 3, padding=1)
        self.norm = nn.LayerNorm(out_width)

    def forward(self, grid: TokenGrid) -> NextGrid:
        """Halve a grid (B, rows, columns, width) to (B, next_rows, next_columns, out_width)."""
        pooled = F.max_pool2d(self.conv(as_maps(grid)), 2, ceil_mode=True)
        return self.norm(as_grid(pooled))
