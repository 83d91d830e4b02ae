"""The nominator: three contexts compete, one is nominated per token (paper section 3.3).

`NominatedContext` is the mixer of stages 1-2; `Nominator` chooses between its contexts through `Nomination`,
the only place where noise enters. To record or to change what is nominated, hook `Nomination`: its input are
the logits, its output the weights of the three contexts.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from nommer.backbone.contexts import CONTEXTS, ConvolutionContext, SpectralContext, WindowContext
from nommer.shapes import NominationLogits, NominationWeights, TokenGrid


def gumbel_noise(logits: Tensor) -> Tensor:
    """Gumbel noise `-log(-log(U))` of the shape and device of `logits`, from torch's seeded generator.

    Drawn in float32 at least and finite, whatever the precision of `logits`.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    uniform = torch.rand(logits.shape, dtype=dtype, device=logits.device)
    limits = torch.finfo(dtype)
    return -torch.log(-torch.log(uniform.clamp(limits.tiny, 1 - limits.eps / 2)))


def one_hot_maximum(scores: Tensor) -> Tensor:
    """One-hot of the maximum over the last dimension, ties to the first; same shape and dtype as `scores`."""
    return torch.zeros_like(scores).scatter_(-1, scores.argmax(-1, keepdim=True), 1)


class Nomination(nn.Module):
    """From logits to the choice of one context per token.

    Inference: one-hot of the maximum. Training: one-hot of the maximum of the softmax (temperature 1) of the logits
    plus Gumbel noise, with the gradient of that softmax (straight-through). `noise` may be replaced by any function
    from logits to a tensor of their shape.
    """

    def __init__(self, contexts: Sequence[str] = CONTEXTS) -> None:
        super().__init__()
        self.contexts = tuple(contexts)
        """Names of the contexts in the order of the logits, themselves in the order of `CONTEXTS`."""
        self.noise: Callable[[Tensor], Tensor] = gumbel_noise

    def forward(self, logits: NominationLogits) -> NominationWeights:
        """Weights (B, rows, columns, 3), exactly one of them 1 and the others 0, float32 at least."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if not self.training:
            return one_hot_maximum(logits)
        limits = torch.finfo(logits.dtype)  # a score that overflowed in half precision must not become a NaN
        soft = (logits.clamp(limits.min, limits.max) + self.noise(logits)).softmax(-1)
        return one_hot_maximum(soft.detach()) + (soft - soft.detach())


class Nominator(nn.Module):
    """Nominate, for every token, one of the three contexts by a linear score of their sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, len(CONTEXTS))
        self.nomination = Nomination()

    def forward(self, convolution: TokenGrid, window: TokenGrid, spectral: TokenGrid) -> TokenGrid:
        """Per token the nominated context, (B, rows, columns, width)."""
        weights = self.nomination(self.score(convolution + window + spectral))
        first, second, third = weights.to(convolution.dtype).unsqueeze(-2).unbind(-1)
        return first * convolution + second * window + third * spectral


class NominatedContext(nn.Module):
    """The mixer of a nominator block: the three contexts of a normalised grid, and the choice between them."""

    def __init__(self, width: int, *, heads: int, expansion: int, window_size: int, block_size: int) -> None:
        super().__init__()
        self.convolution = ConvolutionContext(width, expansion=expansion)
        self.window = WindowContext(width, heads=heads, window_size=window_size)
        self.spectral = SpectralContext(width, heads=heads, block_size=block_size)
        self.nominator = Nominator(width)

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Nominated context of every token, (B, rows, columns, width)."""
        return self.nominator(self.convolution(grid), self.window(grid), self.spectral(grid))
