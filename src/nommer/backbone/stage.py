"""A stage: blocks of one width.

Stages 1-2 nominate, stage 3 adds the position embedding, stage 4 the class token.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from nommer.backbone.layout import as_grid, as_maps
from nommer.backbone.resampling import bicubic_weights, resample
from nommer.backbone.stem import Downsample
from nommer.shapes import NextTokensOrGrid, TokenGrid, Tokens, TokensOrGrid


@contextmanager
def frozen_batch_statistics(module: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch norms as they are.

    A recomputed forward pass must not count twice.

    The batch norms go on tracking, with momentum 0: the recomputation must save the same tensors as
    the first pass. They count in copies, for synchronised ones insist on counting.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, batches in before:
        norm.momentum, norm.num_batches_tracked = 0.0, None if batches is None else batches.clone()
    try:
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum, norm.num_batches_tracked = momentum, batches


def recomputed_in_backward(block: nn.Module, x: TokensOrGrid) -> TokensOrGrid:
    """`block(x)`, whose activations are computed again in the backward pass instead of being kept."""
    if (
        torch.compiler.is_compiling()
    ):  # compiled, statistics change once, at the end of the forward pass
        return checkpoint(block, x, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), frozen_batch_statistics(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


class BlockSequence(nn.Sequential):
    """Blocks one after the other.

    With `grad_checkpointing`, activations inside a block are recomputed in backward.

    The recomputation draws the same noise and drop path, so it nominates the same contexts.
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
    """Downsample (stage 1 has none) and blocks: stages 1 and 2."""

    def __init__(self, downsample: Downsample | nn.Identity, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = BlockSequence(blocks)

    def forward(self, grid: TokenGrid) -> NextTokensOrGrid:
        """The previous grid (B, rows, columns, width) to this stage's."""
        return self.blocks(self.embed(self.downsample(grid)))

    def embed(self, grid: TokenGrid) -> TokensOrGrid:
        """What the stage adds before its blocks: nothing here."""
        return grid


class PositionStage(Stage):
    """Stage 3: adds a learned absolute position embedding, resampled (bicubic) when the grid is
    another.
    """

    def __init__(
        self,
        downsample: Downsample | nn.Identity,
        blocks: Iterable[nn.Module],
        *,
        grid_size: tuple[int, int],
        width: int,
    ) -> None:
        super().__init__(downsample, blocks)
        self.pos_embed = nn.Parameter(torch.zeros(1, *grid_size, width))

    def embed(self, grid: TokenGrid) -> TokenGrid:
        """Add the position of every token."""
        return grid + resample_position(self.pos_embed, (grid.shape[1], grid.shape[2]))


class ClassTokenStage(Stage):
    """Stage 4: puts a learned class token first in the sequence, and returns the sequence (B, 1 +
    tokens, width).
    """

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


def resample_position(
    position: Tensor, grid_size: tuple[int, int]
) -> Float[Tensor, "1 rows columns width"]:
    """Position embedding (1, h, w, width) at `grid_size` (rows, columns).

    Itself, untouched, at its own size.

    Bicubic and antialiased, in float32 at least, as timm's `resample_abs_pos_embed`.
    """
    if all(
        statically_known_true(have == want)
        for have, want in zip(position.shape[1:3], grid_size, strict=True)
    ):
        return position
    maps = as_maps(position).to(torch.promote_types(position.dtype, torch.float32))
    if torch.compiler.is_compiling():  # the size may be open
        sides = zip(maps.shape[2:], grid_size, strict=True)
        resampled = resample(
            maps, *(bicubic_weights(before, after, maps.device) for before, after in sides)
        )
    else:
        resampled = F.interpolate(maps, size=grid_size, mode="bicubic", antialias=True)
    return as_grid(resampled).to(position.dtype)
