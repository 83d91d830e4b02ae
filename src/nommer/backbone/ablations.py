"""Ablations, to compare with: all parts that differ from the published network.

The stem may overlap. In the nominator blocks contexts may be fewer, they may be fused in other
ways, and their global one may be compressed in another way or to another number of coefficients.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from operator import add

import torch
from einops import rearrange
from torch import Tensor, nn

from nommer.backbone.compression import BlockTransform
from nommer.backbone.config import NomMerConfig
from nommer.backbone.contexts import ConvolutionContext, SpectralContext, WindowContext
from nommer.backbone.layout import as_grid
from nommer.backbone.nominator import NominatedContext, Nomination, Nominator, finite
from nommer.backbone.stem import whole_patches
from nommer.shapes import Images, NominationLogits, NominationWeights, TokenGrid

# ---- another stem


class OverlappingStem(nn.Module):
    """Overlapping 3x3 convolutions of stride 2, each with batch norm and ReLU.

    Two for a `patch_size` of 4, the first of half the width; a `patch_size` of 2 or 1 takes a
    single one of that stride. Images are padded as by `Stem`.
    """

    def __init__(self, in_chans: int, width: int, *, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        widths = [in_chans, width // 2, width] if patch_size == 4 else [in_chans, width]
        self.steps = nn.Sequential()
        for before, after in pairwise(widths):
            conv = nn.Conv2d(before, after, 3, stride=min(patch_size, 2), padding=1, bias=False)
            self.steps.extend([conv, nn.BatchNorm2d(after), nn.ReLU()])

    def forward(self, images: Images) -> TokenGrid:
        """Images (B, channels, H, W) to tokens, (B, ceil(H / stride), ceil(W / stride), width)."""
        return as_grid(self.steps(whole_patches(images, self.patch_size)))


# ---- fewer contexts


class AblatedContext(NominatedContext):
    """The mixer with some of the contexts, or another way to make one of them.

    Its children are the contexts, under the names that they have in `NominatedContext`, and last
    the nominator.
    """

    def __init__(self, contexts: Mapping[str, nn.Module], nominator: nn.Module) -> None:
        nn.Module.__init__(self)
        for name, context in contexts.items():
            self.add_module(name, context)
        self.add_module("nominator", nominator)

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Context of every token, (B, rows, columns, width)."""
        *contexts, nominator = self.children()
        return nominator(*(context(grid) for context in contexts))


# ---- other ways to make one of the contexts


class Mixture(Nomination):
    """In the place of a nomination the softmax of the logits: every context by a part.

    It is a `Nomination`, so that whatever hooks one works; the largest part counts as nominated.
    """

    def forward(self, logits: NominationLogits) -> NominationWeights:
        """Weigh the contexts of each token by parts that add to 1; training has no noise."""
        return finite(logits.to(torch.promote_types(logits.dtype, torch.float32))).softmax(-1)


class ContextSum(nn.Module):
    """In the place of a nominator the sum of the contexts, or the only one there is."""

    def forward(self, *contexts: TokenGrid) -> TokenGrid:
        """Per token the sum, (B, rows, columns, width)."""
        return reduce(add, contexts)


def build_nominator(width: int, contexts: Sequence[str], fusion: str) -> nn.Module:
    """Return what makes one of the contexts: `fusion` is one of `config.FUSIONS`."""
    if fusion == "sum" or len(contexts) == 1:
        return ContextSum()
    return Nominator(width, (Mixture if fusion == "softmax" else Nomination)(contexts))


# ---- another compression


def average_basis(block_size: int, kept: int) -> Tensor:
    """Return the basis of average pooling to kept x kept cells, laid out as `dct_basis`.

    A row is 1 / sqrt(n) on the n positions of its cell, so it gives their mean times sqrt(n): the
    rows are orthonormal, as those of the DCT are, and the inverse gives every position the mean of
    its cell (nearest), which of all grids that are constant in the cells is the closest to the
    original. Both compressions are thus the best projection onto their own functions, and networks
    with either differ in nothing else: same weights, same cost. Where `kept` is 1, both are
    the same. Sides of cells differ by one at most.
    """
    cell = torch.arange(block_size) * kept // block_size
    inside = (cell == torch.arange(kept)[:, None]).double()
    inside = inside / inside.sum(1, keepdim=True).sqrt()
    return rearrange(inside[:, None, :, None] * inside[None, :, None, :], "v u j i -> (v u) (j i)")


class BlockAverage(BlockTransform):
    """Average pooling of blocks to as many coefficients, and every cell filled with its mean."""

    def make_basis(self) -> Tensor:
        """Return the rows on which a block is projected, (kept^2, block_size^2) in float64."""
        return average_basis(self.block_size, self.kept)


TRANSFORMS: dict[str, type[BlockTransform]] = {"dct": BlockTransform, "average": BlockAverage}
"""Compressions of the global context by their names in `config.COMPRESSIONS`."""


# ---- the mixer of a description


ATTRIBUTES = {"convolution": "convolution", "window": "window", "global": "spectral"}
"""Names of the contexts in a mixer."""


def build_ablation(config: NomMerConfig, stage: int, block: int) -> AblatedContext:
    """Return the mixer of a block of `stage` (0 or 1) with what `config` ablates."""
    width, heads = config.widths[stage], config.num_heads[stage]
    transform = TRANSFORMS[config.compression]
    size, kept = config.block_sizes[stage], config.kept[stage]
    build: dict[str, Callable[[], nn.Module]] = {
        "convolution": lambda: ConvolutionContext(width, expansion=config.expansion),
        "window": lambda: WindowContext(width, heads=heads, window_size=config.window_size),
        "global": lambda: SpectralContext(width, heads=heads, transform=transform(size, kept=kept)),
    }
    names = config.contexts_of(stage, block)
    contexts = {ATTRIBUTES[name]: build[name]() for name in names}
    return AblatedContext(contexts, build_nominator(width, names, config.fusion))
