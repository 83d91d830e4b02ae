"""Multi-head self-attention (paper section 3.1), the one implementation that all parts share.

The window context adds a bias to the scores; the global context and the blocks of stages 3-4 do
not.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nommer.backbone.cpu import at_work_on_cpu
from nommer.backbone.linear import Linear
from nommer.shapes import Tokens, TokensOrGrid

ScoreBias = Float[Tensor, "#batch #heads #tokens #tokens"]

PackedTokens = Float[Tensor, "batch tokens three_widths"]
"""Queries, keys and values of a sequence, channels ordered (q|k|v, head, head_dim)."""


class MultiHeadAttention(nn.Module):
    """Self-attention over a token sequence; scale head_dim ** -0.5, output projection with bias.

    The channels of `qkv` are ordered (q|k|v, head, head_dim).
    """

    def __init__(self, width: int, *, heads: int, qkv_bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width, bias=qkv_bias)
        self.proj = Linear(width, width)

    def forward(self, tokens: Tokens, bias: ScoreBias | None = None) -> Tokens:
        """Attend over `tokens` (B, N, width).

        `bias`, broadcast to (B, heads, N, N), is added to the scores.
        """
        return self.proj(attend(self.qkv(tokens), self.heads, bias))


class GlobalAttention(MultiHeadAttention):
    """The mixer of stages 3-4: self-attention over all tokens, however they are arranged."""

    def forward(self, x: TokensOrGrid) -> TokensOrGrid:  # type: ignore[override]  # no bias here
        """Attend over every token of `x`, a grid (B, rows, columns, width) or a sequence (B, N,
        width).
        """
        return super().forward(x.flatten(1, -2)).view_as(x)


def attend(qkv: PackedTokens, heads: int, bias: ScoreBias | None = None) -> Tokens:
    """What every token gathers from the others, (B, N, width), heads side by side."""
    if bias is not None and head_by_head_is_faster(qkv, heads):
        bias = bias.to(qkv.dtype).expand(-1, heads, -1, -1)
        return _HeadByHead.apply(qkv, heads, bias)
    query, key, value = (
        rearrange(part, "b n (h d) -> b h n d", h=heads) for part in qkv.chunk(3, dim=-1)
    )
    bias = None if bias is None else bias.to(query.dtype)
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return rearrange(attended, "b h n d -> b n (h d)")


def head_by_head_is_faster(qkv: PackedTokens, heads: int) -> bool:
    """Whether plain products beat fused attention.

    On the CPU, for sequences as short as windows are.

    There fused attention leaves a bias with a gradient to a form that copies, and its blocks are
    too large to fill. The scores, which are kept for the backward pass, are then no more than
    queries, keys and values.
    """
    if qkv.dtype not in (torch.float32, torch.float64) or not at_work_on_cpu(qkv):
        return False
    return heads * qkv.shape[1] <= qkv.shape[2]


class _HeadByHead(torch.autograd.Function):
    """Softmax attention whose products read queries, keys and values where they lie, one head after
    the other.

    With P = softmax(S) of the scores S = Q K^T scale + bias, and G the gradient of P V: the
    gradient of V is P^T G, that of S is D = P (G V^T - sum_keys(P G V^T)), of the bias D summed
    over the sequences that share it, of Q D K scale and of K D^T Q scale. Gradients of these
    gradients are autograd's own, of the literal form.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int, bias: Tensor) -> Tensor:
        parts = rearrange(qkv, "b n (part h d) -> b n part h d", part=3, h=heads)
        scale, attended = parts.shape[-1] ** -0.5, torch.empty_like(parts[:, :, 0])
        kept = []
        for head in range(heads):
            query, key, value = parts[:, :, :, head].unbind(2)
            weights = torch.baddbmm(bias[:, head], query, key.mT, alpha=scale).softmax(-1)
            attended[:, :, head] = weights @ value
            kept.append(weights)
        ctx.save_for_backward(qkv, bias, *kept)
        return attended.flatten(2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        qkv, bias, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants the gradients of what this gives
            return _differentiable_gradients(ctx.needs_input_grad, qkv, len(kept), bias, gradient)
        parts = rearrange(qkv, "b n (part h d) -> b n part h d", part=3, h=len(kept))
        scale, of_parts, of_bias = parts.shape[-1] ** -0.5, torch.empty_like(parts), []
        of_attended = rearrange(gradient, "b n (h d) -> b n h d", h=len(kept))
        for head, weights in enumerate(kept):
            query, key, value = parts[:, :, :, head].unbind(2)
            of_result = of_attended[:, :, head]
            of_weights = of_result @ value.mT
            of_scores = torch.ops.aten._softmax_backward_data(
                of_weights, weights, -1, weights.dtype
            )
            of_parts[:, :, 0, head] = (of_scores @ key).mul_(scale)
            of_parts[:, :, 1, head] = (of_scores.mT @ query).mul_(scale)
            of_parts[:, :, 2, head] = weights.mT @ of_result
            if ctx.needs_input_grad[2]:
                of_bias.append(of_scores.sum_to_size(bias.shape[0], *weights.shape[1:]))
        return of_parts.flatten(2), None, torch.stack(of_bias, dim=1) if of_bias else None


def _differentiable_gradients(
    needed: Sequence[bool], qkv: Tensor, heads: int, bias: Tensor, gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """What `_HeadByHead.backward` gives, in a form that can be differentiated again.

    Args:
        needed: which of the three arguments of `_HeadByHead` want a gradient.
        qkv: its first argument.
        heads: its second one.
        bias: its third one.
        gradient: of what it gave.
    """
    query, key, value = rearrange(qkv, "b n (part h d) -> part b h n d", part=3, h=heads)
    weights = (query @ key.mT * query.shape[-1] ** -0.5 + bias).softmax(-1)
    attended = rearrange(weights @ value, "b h n d -> b n (h d)")
    inputs = [tensor for tensor, wanted in ((qkv, needed[0]), (bias, needed[2])) if wanted]
    found = iter(torch.autograd.grad(attended, inputs, gradient, create_graph=True))
    return tuple(next(found) if wanted else None for wanted in needed)
