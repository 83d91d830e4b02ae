"""The nominator: three contexts compete, one is nominated per token (paper section 3.3).

`NominatedContext` is the mixer of stages 1-2; `Nominator` chooses between its contexts through
`Nomination`, the only place where noise enters. To record or to change what is nominated, hook
`Nomination`: its input are the logits, its output the weights of the contexts.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from nommer.backbone.config import CONTEXTS
from nommer.shapes import NominationLogits, NominationWeights, TokenGrid


def gumbel_noise(logits: Tensor) -> Tensor:
    """Draw Gumbel noise `-log(-log(U))` of the shape and device of `logits`.

    U is from torch's seeded generator, in float32 at least, so the noise is finite whatever the
    precision of `logits`.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    uniform = torch.rand(logits.shape, dtype=dtype, device=logits.device)
    limits = torch.finfo(dtype)
    return -torch.log(-torch.log(uniform.clamp(limits.tiny, 1 - limits.eps / 2)))


def one_hot_maximum(scores: Tensor) -> Tensor:
    """Return the one-hot of the maximum over the last dimension, ties to the first."""
    return torch.zeros_like(scores).scatter_(-1, scores.argmax(-1, keepdim=True), 1)


def finite(logits: Tensor) -> Tensor:
    """Clamp a score that overflowed in half precision, which would become NaN in a softmax."""
    limits = torch.finfo(logits.dtype)
    return logits.clamp(limits.min, limits.max)


class Nomination(nn.Module):
    """From logits to the choice of one context per token.

    Inference: one-hot of the maximum. Training: one-hot of the maximum of `softmax((logits +
    noise_scale * noise) / temperature)` with Gumbel noise, and the gradient of that softmax
    (straight-through). `noise` may be replaced by any function from logits to a tensor of their
    shape.

    `temperature` and `noise_scale` are 1, as published. The temperature changes gradients alone;
    with less noise, training nominates more often as inference would. They are buffers, so that
    they can change without a new compilation.
    """

    temperature: Tensor
    noise_scale: Tensor

    def __init__(self, contexts: Sequence[str] = CONTEXTS) -> None:
        super().__init__()
        self.contexts = tuple(contexts)
        """Names of the contexts in the order of the logits."""
        self.noise: Callable[[Tensor], Tensor] = gumbel_noise
        for name in ("temperature", "noise_scale"):
            self.register_buffer(name, torch.ones(()), persistent=False)

    def init_non_persistent_buffers(self) -> None:
        """Fill the buffers again after construction on the meta device (timm's convention)."""
        self.temperature.fill_(1)
        self.noise_scale.fill_(1)

    def forward(self, logits: NominationLogits) -> NominationWeights:
        """Weigh one context of each token by 1 and the others by 0, in float32 at least."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if not self.training:
            return one_hot_maximum(logits)
        noisy = finite(logits) + self.noise_scale * self.noise(logits)
        soft = (noisy / self.temperature).softmax(-1)
        # the bracket is exactly 0, so the weights are exactly one-hot in any precision
        return one_hot_maximum(soft.detach()) + (soft - soft.detach())


class Nominator(nn.Module):
    """Nominate, for every token, one of the contexts by a linear score of their sum."""

    def __init__(self, width: int, nomination: Nomination | None = None) -> None:
        super().__init__()
        nomination = nomination or Nomination()
        self.score = nn.Linear(width, len(nomination.contexts))
        self.nomination = nomination

    def forward(self, *contexts: TokenGrid) -> TokenGrid:
        """Per token the nominated context, (B, rows, columns, width)."""
        weights = self.nomination(self.score(reduce(add, contexts)))
        return weighted_sum(weights.to(contexts[0].dtype), contexts)


def weighted_sum(weights: NominationWeights, contexts: Sequence[TokenGrid]) -> TokenGrid:
    """Add up the contexts, each times its weight."""
    of_each = weights.unsqueeze(-2).unbind(-1)
    return reduce(add, (w * context for w, context in zip(of_each, contexts, strict=True)))


class NominatedContext(nn.Module):
    """The mixer of a nominator block: of three contexts of a normalised grid, one per token."""

    def __init__(
        self, width: int, *, convolution: nn.Module, window: nn.Module, spectral: nn.Module
    ) -> None:
        super().__init__()
        self.convolution = convolution
        self.window = window
        self.spectral = spectral
        self.nominator = Nominator(width)

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Nominated context of every token, (B, rows, columns, width)."""
        return self.nominator(self.convolution(grid), self.window(grid), self.spectral(grid))
