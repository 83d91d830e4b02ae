"""Attention as the runtimes compute it fastest that read an exported file.

Queries, keys and values come from a linear layer each, so that no large tensor is split, and
windows and heads are cut by one transposition in the place of two. In ONNX Runtime on a CPU
`nommer_tiny` then takes 0.96 to 0.99 of the time (`docs/performance.md`); the numbers are the same
up to rounding.
"""

from typing import TypeVar

import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nommer.acceleration.fuse import FusedWindowContext
from nommer.acceleration.replacing import replace_modules
from nommer.backbone.attention import GlobalAttention, MultiHeadAttention
from nommer.backbone.layout import crop_grid, pad_grid
from nommer.shapes import TokenGrid, TokensOrGrid

Model = TypeVar("Model", bound=nn.Module)


def split_attention(model: Model) -> Model:
    """Change the attention of a fused `model`, and return it."""
    replace_modules(
        model, lambda child: _SPLIT[type(child)](child) if type(child) in _SPLIT else child
    )
    return model.eval()


class SplitGlobalAttention(nn.Module):
    """The mixer of stages 3-4."""

    def __init__(self, attention: GlobalAttention) -> None:
        super().__init__()
        self.heads, self.proj = attention.heads, attention.proj
        self.projections = _projections(attention)

    def forward(self, x: TokensOrGrid) -> TokensOrGrid:
        """Attend over all tokens of `x`: (B, rows, columns, width) or (B, N, width)."""
        tokens = x.flatten(1, -2)
        query, key, value = (
            rearrange(layer(tokens), "b n (h d) -> b h n d", h=self.heads)
            for layer in self.projections
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.proj(rearrange(attended, "b h n d -> b n (h d)")).view_as(x)


class SplitWindowContext(FusedWindowContext):
    """The window context: all tokens of the grid are projected, and then cut into windows."""

    def __init__(self, context: FusedWindowContext) -> None:
        super().__init__(context)
        self.projections = _projections(context.attention)
        self.proj, self.heads = context.attention.proj, context.attention.heads
        del self.attention

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Context of every token from its window: (B, rows, columns, width), same out."""
        side = self.window_size
        padded = pad_grid(grid, side, "constant")
        down, across = padded.shape[1] // side, padded.shape[2] // side
        cut = "b (h y) (w x) (n d) -> (b h w) n (y x) d"
        query, key, value = (
            rearrange(layer(padded), cut, y=side, x=side, n=self.heads)
            for layer in self.projections
        )
        bias = self.score_bias(grid, padded)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        joined = "(b h w) n (y x) d -> b (h y) (w x) (n d)"
        whole = rearrange(attended, joined, h=down, w=across, y=side)
        return self.proj(crop_grid(whole, *grid.shape[1:3]))


def _projections(attention: MultiHeadAttention) -> nn.ModuleList:
    """Return linear layers for queries, keys and values."""
    qkv = attention.qkv
    weights = qkv.weight.detach().chunk(3)
    biases = [None] * 3 if qkv.bias is None else qkv.bias.detach().chunk(3)
    layers = nn.ModuleList()
    for weight, bias in zip(weights, biases, strict=True):
        layer = nn.Linear(qkv.in_features, len(weight), bias=bias is not None, device="meta")
        layer.weight = nn.Parameter(weight.clone())
        layer.bias = None if bias is None else nn.Parameter(bias.clone())
        layers.append(layer)
    return layers.requires_grad_(requires_grad=False)


_SPLIT: dict[type[nn.Module], type[nn.Module]] = {
    FusedWindowContext: SplitWindowContext,
    GlobalAttention: SplitGlobalAttention,
}
