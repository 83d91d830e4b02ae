"""The convolutional local context: a bottleneck residual (paper section 3.2)."""

import torch.nn.functional as F
from torch import nn

from nommer.backbone.layout import as_grid, as_maps
from nommer.shapes import TokenGrid


class ConvolutionContext(nn.Module):
    """1x1 reduce, 3x3, 1x1 expand, each with batch norm; ReLU between, and after adding the input.

    `expansion` divides the width inside the bottleneck.
    """

    def __init__(self, width: int, *, expansion: int) -> None:
        super().__init__()
        hidden = width // expansion
        self.conv1 = nn.Conv2d(width, hidden, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, width, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Context of every token from its 3x3 neighbours: (B, rows, columns, width), same out."""
        maps = as_maps(grid)
        hidden = F.relu(self.norm1(self.conv1(maps)))
        hidden = F.relu(self.norm2(self.conv2(hidden)))
        return as_grid(F.relu(self.norm3(self.conv3(hidden)) + maps))
