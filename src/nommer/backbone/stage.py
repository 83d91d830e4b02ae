"""A stage: blocks of one width.

Stages 1-2 nominate, stage 3 adds the position embedding, stage 4 the class token.
"""

from collections.abc import Iterable

import torch
from torch import nn

from nommer.backbone.recomputation import recomputed_in_backward
from nommer.backbone.resampling import resample_position
from nommer.backbone.stem import Downsample
from nommer.shapes import NextTokensOrGrid, TokenGrid, Tokens, TokensOrGrid


class BlockSequence(nn.Sequential):
    """Blocks one after the other.

    With `grad_checkpointing`, activations inside a block are recomputed in the backward pass.
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__(*blocks)
        self.grad_checkpointing = False

    def forward(self, x: TokensOrGrid) -> TokensOrGrid:
        """Tokens through every block."""
        recompute = self.grad_checkpointing and self.training and torch.is_grad_enabled()
        for block in self:
            x = recomputed_in_backward(block, x) if recompute else block(x)
        return x


class Stage(nn.Module):
    """Downsample (stage 1 has none), then blocks: stages 1 and 2."""

    def __init__(self, downsample: Downsample | nn.Identity, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = BlockSequence(blocks)

    def forward(self, grid: TokenGrid) -> NextTokensOrGrid:
        """The previous grid (B, rows, columns, width) to this stage's tokens."""
        return self.blocks(self.embed(self.downsample(grid)))

    def embed(self, grid: TokenGrid) -> TokensOrGrid:
        """Add what the stage has besides its blocks: nothing here."""
        return grid


class PositionStage(Stage):
    """Stage 3: adds a learned absolute position embedding, resampled to the grid it is given."""

    def __init__(
        self,
        downsample: Downsample | nn.Identity,
        blocks: Iterable[nn.Module],
        *,
        grid_size: tuple[int, int],
        width: int,
        position_std: float = 1.0,
    ) -> None:
        super().__init__(downsample, blocks)
        self.position_std = position_std
        self.pos_embed = nn.Parameter(torch.zeros(1, *grid_size, width))

    def embed(self, grid: TokenGrid) -> TokenGrid:
        """Add the position of every token."""
        return grid + resample_position(self.pos_embed, (grid.shape[1], grid.shape[2]))


class ClassTokenStage(Stage):
    """Stage 4: puts a learned class token first, and returns a sequence (B, 1 + tokens, width)."""

    def __init__(
        self, downsample: Downsample | nn.Identity, blocks: Iterable[nn.Module], *, width: int
    ) -> None:
        super().__init__(downsample, blocks)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))

    def embed(self, grid: TokenGrid) -> Tokens:
        """Flatten the grid and put the class token first."""
        tokens = grid.flatten(1, 2)
        class_token = self.cls_token.expand(tokens.shape[0], -1, -1).to(tokens.dtype)
        return torch.cat([class_token, tokens], dim=1)
