"""From pixels to the first token grid, and from one stage's grid to the next (paper section 3.1)."""

import torch
import torch.nn.functional as F
from torch import nn

from nommer.backbone.layout import as_grid, as_maps, pad_maps
from nommer.shapes import Images, NextGrid, NextMap, TokenGrid


class Stem(nn.Module):
    """Convolution whose kernel and stride are both `patch_size`, batch norm, ReLU.

    An image that the patches do not fill is padded with zeros at the right and bottom, so that no
    pixel is lost.
    """

    def __init__(self, in_chans: int, width: int, *, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.conv = nn.Conv2d(in_chans, width, patch_size, stride=patch_size, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, images: Images) -> TokenGrid:
        """Images (B, channels, H, W) to tokens (B, ceil(H / patch_size), ceil(W / patch_size),
        width).
        """
        return as_grid(F.relu(self.norm(self.conv(whole_patches(images, self.patch_size)))))


def whole_patches(images: Images, patch_size: int) -> NextMap:
    """The images, padded with zeros at the right and bottom where patches do not fill them, in
    channels-last memory.
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
        """Halve the grid (B, rows, columns, width) to (B, ceil(rows / 2), ceil(columns / 2),
        out_width).
        """
        return self.norm(as_grid(F.max_pool2d(self.conv(as_maps(grid)), 2, ceil_mode=True)))
