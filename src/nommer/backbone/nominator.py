"""The nominator: three contexts compete, one is nominated per token (paper section 3.3).

`NominatedContext` is the mixer of stages 1-2; `Nominator` chooses between its contexts through
`Nomination`, the only place where noise enters. To record or to change what is nominated, hook
`Nomination`: its input are the logits, its output the weights of the contexts.

To compare with, contexts may be fewer, and fused in two other ways: mixed by `Mixture`, or summed
by `ContextSum`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add, mul
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.cpu import at_work_on_cpu, wants_gradient
from nommer.shapes import NominationLogits, NominationWeights, TokenGrid


def gumbel_noise(logits: Tensor) -> Tensor:
    """Gumbel noise `-log(-log(U))` of the shape and device of `logits`, from torch's seeded
    generator.

    Drawn in float32 at least and finite, whatever the precision of `logits`.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    uniform = torch.rand(logits.shape, dtype=dtype, device=logits.device)
    limits = torch.finfo(dtype)
    return -torch.log(-torch.log(uniform.clamp(limits.tiny, 1 - limits.eps / 2)))


def one_hot_maximum(scores: Tensor) -> Tensor:
    """One-hot of the maximum over the last dimension, ties to the first.

    Same shape and dtype as `scores`.
    """
    return torch.zeros_like(scores).scatter_(-1, scores.argmax(-1, keepdim=True), 1)


class Nomination(nn.Module):
    """From logits to the choice of one context per token.

    Inference: one-hot of the maximum. Training: one-hot of the maximum of the softmax (temperature
    1) of the logits plus Gumbel noise, with the gradient of that softmax (straight-through).
    `noise` may be replaced by any function from logits to a tensor of their shape.

    The buffers `temperature` and `noise_scale` are 1, as published. With less noise, training
    nominates more often what inference would; the temperature changes gradients alone. As tensors
    they may change without a new compilation.
    """

    temperature: Tensor
    noise_scale: Tensor

    def __init__(self, contexts: Sequence[str] = CONTEXTS) -> None:
        super().__init__()
        self.contexts = tuple(contexts)
        """Names of the contexts in the order of the logits, themselves in the order of `CONTEXTS`."""
        self.noise: Callable[[Tensor], Tensor] = gumbel_noise
        for name in ("temperature", "noise_scale"):
            self.register_buffer(name, torch.ones(()), persistent=False)

    def init_non_persistent_buffers(self) -> None:
        """Fill the buffers, also after `to_empty` from the meta device."""
        self.temperature.fill_(1)
        self.noise_scale.fill_(1)

    def forward(self, logits: NominationLogits) -> NominationWeights:
        """Weights (B, rows, columns, contexts), exactly one of them 1 and the others 0, float32 at
        least.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if not self.training:
            return one_hot_maximum(logits)
        soft = (
            (_finite(logits) + self.noise_scale * self.noise(logits)) / self.temperature
        ).softmax(-1)
        return one_hot_maximum(soft.detach()) + (soft - soft.detach())


class Mixture(Nomination):
    """In the place of a nomination the softmax of the logits.

    Every context by its part, without noise or choice.
    """

    def forward(self, logits: NominationLogits) -> NominationWeights:
        """Weights (B, rows, columns, contexts), adding to 1, float32 at least.

        The same in training and inference.
        """
        return _finite(logits.to(torch.promote_types(logits.dtype, torch.float32))).softmax(-1)


def _finite(logits: Tensor) -> Tensor:
    """A score that overflowed in half precision must not become a NaN."""
    limits = torch.finfo(logits.dtype)
    return logits.clamp(limits.min, limits.max)


class Nominator(nn.Module):
    """Nominate, for every token, one of the contexts by a linear score of their sum."""

    def __init__(self, width: int, nomination: Nomination | None = None) -> None:
        super().__init__()
        nomination = nomination or Nomination()
        self.score = nn.Linear(width, len(nomination.contexts))
        self.nomination = nomination

    def forward(self, *contexts: TokenGrid) -> TokenGrid:
        """Per token the nominated context, (B, rows, columns, width)."""
        weights = self.nomination(self.scores(reduce(add, contexts))).to(contexts[0].dtype)
        if at_work_on_cpu(weights, *contexts) and wants_gradient(weights, *contexts):
            return _Weighted.apply(weights, *contexts)
        return weighted_sum(weights, *contexts)

    def scores(self, together: TokenGrid) -> NominationLogits:
        """Linear scores of the contexts, (B, rows, columns, contexts).

        A GPU's matrix products want a multiple of 8 outputs; there a few of zero weights are added
        and dropped.
        """
        if not together.is_cuda:
            return self.score(together)
        missing = -self.score.out_features % 8
        weight, bias = (
            F.pad(self.score.weight, (0, 0, 0, missing)),
            F.pad(self.score.bias, (0, missing)),
        )
        return F.linear(together, weight, bias)[..., : self.score.out_features]


def weighted_sum(weights: NominationWeights, *contexts: TokenGrid) -> TokenGrid:
    """Every context by its weight, added up."""
    return reduce(add, map(mul, weights.unsqueeze(-2).unbind(-1), contexts))


class _Weighted(torch.autograd.Function):
    """`weighted_sum` with fewer grids in between.

    Added in place, and the weights' gradients as rows by rows.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, *contexts: Tensor) -> Tensor:
        ctx.save_for_backward(weights, *contexts)
        of_each = weights.unsqueeze(-2).unbind(-1)
        together = contexts[0] * of_each[0]
        for context, weight in zip(contexts[1:], of_each[1:], strict=True):
            together.addcmul_(context, weight)
        return together

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        weights, *contexts = ctx.saved_tensors
        of_weights = torch.stack(
            [torch.linalg.vecdot(gradient, context) for context in contexts], dim=-1
        )
        return of_weights, *(gradient * weight for weight in weights.unsqueeze(-2).unbind(-1))


class ContextSum(nn.Module):
    """In the place of a nominator the sum of the contexts, or the only one there is.

    No scores, no parameters.
    """

    def forward(self, *contexts: TokenGrid) -> TokenGrid:
        """Per token the sum, (B, rows, columns, width)."""
        return reduce(add, contexts)


FUSIONS: dict[str, Callable[[int, Sequence[str]], nn.Module]] = {
    "nomination": lambda width, contexts: Nominator(width, Nomination(contexts)),
    "softmax": lambda width, contexts: Nominator(width, Mixture(contexts)),
    "sum": lambda _width, _contexts: ContextSum(),
}
"""What fuses contexts of a width into one, by name; as published by nomination."""

_MODULES = {"convolution": "convolution", "window": "window", "global": "spectral"}
"""Where `NominatedContext` has each context; `global` is a word of Python."""


class NominatedContext(nn.Module):
    """The mixer of a nominator block.

    The contexts of a normalised grid, and the choice between them.

    Args:
        width: channels of a token.
        contexts: `convolution`, `window` and `spectral` of the mixer by their names in `CONTEXTS`,
            in that order; as published all three.
        fusion: a name of `FUSIONS`. A single context has nothing to be fused with.
    """

    def __init__(
        self, width: int, contexts: Mapping[str, nn.Module], *, fusion: str = "nomination"
    ) -> None:
        super().__init__()
        for name, context in contexts.items():
            self.add_module(_MODULES[name], context)
        self.modules_of_contexts = tuple(_MODULES[name] for name in contexts)
        self.nominator = FUSIONS[fusion if len(contexts) > 1 else "sum"](width, tuple(contexts))

    def forward(self, grid: TokenGrid) -> TokenGrid:
        """Nominated context of every token, (B, rows, columns, width)."""
        return self.nominator(*(getattr(self, name)(grid) for name in self.modules_of_contexts))
