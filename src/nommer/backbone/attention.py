"""Multi-head self-attention (paper section 3.1), the one implementation that all parts share.

The window context adds a bias to the scores; the global context and the blocks of stages 3-4 do
not.
"""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nommer.shapes import Tokens, TokensOrGrid

Heads = Float[Tensor, "batch heads tokens head_dim"]
ScoreBias = Float[Tensor, "#batch #heads #tokens #tokens"]


class MultiHeadAttention(nn.Module):
    """Self-attention over a token sequence, `softmax(Q K^T head_dim^-0.5 + bias) V` in every head.

    The heads lie side by side and are projected by a linear layer with bias. The channels of `qkv`
    are ordered (q|k|v, head, head_dim).
    """

    def __init__(self, width: int, *, heads: int, qkv_bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tokens, bias: ScoreBias | None = None) -> Tokens:
        """Attend over `tokens` (B, N, width), with `bias` (B, heads, N, N) added to the scores."""
        query, key, value = (
            rearrange(part, "b n (h d) -> b h n d", h=self.heads)
            for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        attended = self.attend(query, key, value, bias)
        return self.proj(rearrange(attended, "b h n d -> b n (h d)"))

    def attend(self, query: Heads, key: Heads, value: Heads, bias: ScoreBias | None) -> Heads:
        """Return `softmax(Q K^T head_dim^-0.5 + bias) V` of every head, (B, heads, N, head_dim)."""
        bias = None if bias is None else bias.to(query.dtype)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


class GlobalAttention(MultiHeadAttention):
    """The mixer of stages 3-4: self-attention over all tokens, however they are arranged."""

    def forward(self, x: TokensOrGrid) -> TokensOrGrid:  # type: ignore[override]  # no bias here
        """Attend over all tokens of `x`: (B, rows, columns, width) or (B, N, width)."""
        return super().forward(x.flatten(1, -2)).view_as(x)
