"""A NomMer for inference: what is constant once training is over is folded together.

- batch norms into the convolutions before them, also those of a segmenter's decoder;
- block DCT (or pooling), grouped 1x1 convolution and batch norm into one strided grouped
  convolution;
- grouped 1x1 convolution and inverse DCT into one matrix per group;
- the window context's bias, gathered from its table;
- nomination by selecting instead of multiplying and adding, scores padded on a GPU (`nominator`);
- on the CPU, weights packed for its matrix products, with the activation or residual addition after
  them (`packed`).

The literal twins are the modules themselves; the tests compare both.
"""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nommer.acceleration.nominator import PaddedNominator, padded_linear
from nommer.acceleration.packed import PackedConv2d, PackedLinear, can_pack, pack
from nommer.acceleration.replacing import replace_modules
from nommer.acceleration.spectral import squeezing_kernels, widen_blocks, widening_kernels
from nommer.acceleration.training import literal
from nommer.backbone.block import Block, Mlp
from nommer.backbone.contexts import ConvolutionContext, SpectralContext, WindowContext
from nommer.backbone.layout import as_grid, as_maps, crop_grid, pad_grid
from nommer.backbone.nominator import Nomination, Nominator
from nommer.backbone.stem import Stem, whole_patches
from nommer.models.upernet import TolerantBatchNorm
from nommer.shapes import Images, TokenGrid, TokensOrGrid

Model = TypeVar("Model", bound=nn.Module)


def fuse(model: Model, *, inplace: bool = False) -> Model:
    """Return a fused copy of `model`, anything that contains a NomMer, in evaluation mode.

    The copy gives the same outputs up to rounding (about 1e-6 relative in float32) and nominates
    the same contexts but for ties within rounding. It is for inference: its parameters take no
    gradients.

    Args:
        model: a model or a network.
        inplace: fuse the model itself, which is lost.
    """
    fused = literal(model if inplace else copy.deepcopy(model)).eval()
    replace_modules(
        fused, lambda child: _FUSED[type(child)](child) if type(child) in _FUSED else child
    )
    for module in fused.modules():
        if isinstance(module, nn.Sequential):
            _fold_sequence(module)
    replace_modules(fused, lambda child: pack(child) if can_pack(child) else child)
    return fused.eval().requires_grad_(requires_grad=False)


def _folded(module: nn.Module, conv: str, norm: str) -> nn.Conv2d:
    return fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))


class FusedStem(nn.Module):
    """The stem with its batch norm folded.

    The ReLU stays by itself: oneDNN's turns NaN into 0, and nobody would see that an image has
    none.
    """

    def __init__(self, stem: Stem) -> None:
        super().__init__()
        self.patch_size, self.conv = stem.patch_size, PackedConv2d(_folded(stem, "conv", "norm"))

    def forward(self, images: Images) -> TokenGrid:
        """Images (B, channels, H, W) to tokens, (B, ceil(H / stride), ceil(W / stride), width)."""
        return as_grid(F.relu(self.conv(whole_patches(images, self.patch_size))))


class FusedConvolutionContext(nn.Module):
    """The convolutional context, batch norms folded, ReLU and addition done on the way out."""

    def __init__(self, context: ConvolutionContext) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (
            PackedConv2d(_folded(context, f"conv{n}", f"norm{n}"), "relu") for n in (1, 2, 3)
        )

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Context of every token from its 3x3 neighbours: (B, rows, columns, width), same out."""
        maps = as_maps(grid)
        return as_grid(self.conv3(self.conv2(self.conv1(maps)), maps))


class FusedMlp(nn.Module):
    """Linear, GELU, Linear: GELU and the residual's addition done on the way out."""

    def __init__(self, mlp: Mlp) -> None:
        super().__init__()
        self.fc1, self.fc2 = PackedLinear(mlp.fc1, "gelu"), PackedLinear(mlp.fc2)

    def forward(self, x: TokensOrGrid, residual: TokensOrGrid | None = None) -> TokensOrGrid:
        """`mlp(x)`, or with a `residual` `mlp(x) + residual`."""
        return self.fc2(self.fc1(x), residual)


class FusedBlock(nn.Module):
    """The block without drop path, its second addition done by the MLP."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.mixer, self.mlp = block.mixer, FusedMlp(block.mlp)

    def forward(self, x: TokensOrGrid) -> TokensOrGrid:
        """Tokens in, tokens out, in the same arrangement."""
        x = x + self.mixer(self.norm1(x))
        return self.mlp(self.norm2(x), x)


def _fold_sequence(modules: nn.Sequential) -> None:
    """Fold every batch norm after a convolution; subclasses of either may do more, and stay."""
    for index, (conv, norm) in enumerate(pairwise(modules)):
        if type(conv) is nn.Conv2d and (
            type(norm) is nn.BatchNorm2d or type(norm) is TolerantBatchNorm
        ):
            modules[index] = fuse_conv_bn_eval(conv, norm)
            modules[index + 1] = nn.Identity()


class FusedWindowContext(WindowContext):
    """The window context with its bias gathered once."""

    bias: Tensor

    def __init__(self, context: WindowContext) -> None:
        nn.Module.__init__(self)
        self.window_size, self.attention = context.window_size, context.attention
        self.register_buffer("bias", context.position_bias().detach().contiguous())

    def position_bias(self) -> Tensor:
        """Bias of every (query, key) pair of a window, (1, heads, tokens, tokens)."""
        return self.bias


class FusedSpectralContext(nn.Module):
    """The global context, transforms, convolutions and batch norm multiplied out once."""

    expand: Tensor

    def __init__(self, context: SpectralContext) -> None:
        super().__init__()
        self.block_size, self.attention = context.transform.block_size, context.attention
        exact, dtype = copy.deepcopy(context).double(), context.norm.weight.dtype
        side, width, groups = self.block_size, context.norm.num_features, context.compress.groups
        merged = nn.Conv2d(width, width, side, stride=side, groups=groups, bias=False)
        kernels = rearrange(squeezing_kernels(exact), "g (j i c) o -> (g o) c j i", j=side, i=side)
        merged.weight = nn.Parameter(kernels)
        self.compress = fuse_conv_bn_eval(merged.eval(), exact.norm).to(dtype)
        self.register_buffer("expand", widening_kernels(exact).detach().to(dtype))

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Context of every token from the whole image: (B, rows, columns, width), same out."""
        padded = pad_grid(grid, self.block_size, "replicate")
        attended = self.attention(as_grid(self.compress(as_maps(padded))))
        widened = widen_blocks(attended, self.expand, self.block_size)
        return crop_grid(widened, *grid.shape[1:3])


class FusedNominator(PaddedNominator):
    """The nominator that selects the nominated context; `nomination` is the same, for hooks."""

    def __init__(self, nominator: Nominator) -> None:
        nn.Module.__init__(self)
        self.score, self.nomination = nominator.score, nominator.nomination

    def forward(self, *contexts: TokenGrid) -> TokenGrid:
        """Per token the nominated context, (B, rows, columns, width)."""
        if self.nomination._forward_hooks:  # a hook may put weights there that select nothing
            return super().forward(*contexts)
        together = contexts[0] + contexts[1]
        for context in contexts[2:]:
            together += context
        weights = self.nomination(padded_linear(self.score, together))
        *before, chosen = contexts
        for index, context in reversed(list(enumerate(before))):
            chosen = torch.where(weights[..., index : index + 1] > 0, context, chosen)
        return chosen


def _fuse_nominator(nominator: Nominator) -> Nominator:
    if type(nominator.nomination) is Nomination:
        return FusedNominator(nominator)
    nominator.__class__ = PaddedNominator  # a mixture selects nothing
    return nominator


_FUSED: dict[type[nn.Module], Callable[..., nn.Module]] = {
    Stem: FusedStem,
    Block: FusedBlock,
    ConvolutionContext: FusedConvolutionContext,
    WindowContext: FusedWindowContext,
    SpectralContext: FusedSpectralContext,
    Nominator: _fuse_nominator,
}
