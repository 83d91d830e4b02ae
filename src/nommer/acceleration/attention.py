"""Attention in bfloat16 on the CPU, faster than torch's own in a step of training.

There the backward pass of torch's fused attention takes longer in bfloat16 than in float32, by far
for the 50 tokens of stage 4; and a learned bias, as windows have it, is none that it takes, so
torch computes those in many operators of float32. Up to 64 tokens, plain products in bfloat16 with
scores, bias and softmax in float32 take half as long, and they keep little; longer sequences are
brought to float32 and back around the fused operator. Wherever this does not apply (inference,
float32, GPUs, compilation, export), it is the literal form.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nommer.acceleration.cpu import wants_gradient
from nommer.backbone.attention import GlobalAttention, Heads, MultiHeadAttention, ScoreBias

_SHORT = 64
"""Tokens; beyond that plain products are little faster, and what they keep grows with the square.
"""


class Bfloat16Attention(MultiHeadAttention):
    """`MultiHeadAttention`, faster in training in bfloat16 on the CPU."""

    def attend(self, query: Heads, key: Heads, value: Heads, bias: ScoreBias | None) -> Heads:
        """Return what every query attends to, (B, heads, N, head_dim)."""
        if not _applies(query):
            return super().attend(query, key, value, bias)
        if query.shape[-2] <= _SHORT:
            return _attend_short(query, key, value, bias)
        attended = F.scaled_dot_product_attention(
            query.float(), key.float(), value.float(), attn_mask=bias
        )
        return attended.to(query.dtype)


class Bfloat16GlobalAttention(GlobalAttention, Bfloat16Attention):
    """`GlobalAttention`, faster in training in bfloat16 on the CPU."""


def _applies(query: Tensor) -> bool:
    if query.dtype != torch.bfloat16 or query.device.type != "cpu" or not wants_gradient(query):
        return False
    return not torch.compiler.is_compiling()


def _attend_short(query: Heads, key: Heads, value: Heads, bias: ScoreBias | None) -> Heads:
    scores = (query @ key.transpose(-2, -1)).float() * query.shape[-1] ** -0.5
    weights = (scores if bias is None else scores + bias).softmax(-1)
    return weights.to(value.dtype) @ value
