"""Counterfactuals: the model's answers if other contexts were nominated.

An intervention hooks `Nomination` (see `backbone/nominator.py`) and puts other weights in the place
of its output; the network itself knows nothing of it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor, nn

from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.nominator import Nomination, one_hot_maximum
from nommer.nominations.trace import nominator_blocks, without_compilation
from nommer.shapes import NominationLogits, NominationWeights

Region = Bool[Tensor, "*batch rows columns"]

Replacement = Callable[[Tensor, torch.Generator], Tensor]
"""From a block's logits (B, rows, columns, contexts) to other weights of the same shape."""


def _one_context(index: int, logits: Tensor, _generator: torch.Generator) -> Tensor:
    return torch.zeros_like(logits).index_fill(-1, torch.tensor([index], device=logits.device), 1)


def _mean(logits: Tensor, _generator: torch.Generator) -> Tensor:
    return torch.full_like(logits, 1 / logits.shape[-1])


def _chance(logits: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(
        logits.shape[-1], logits.shape[:-1], generator=generator
    )  # on the CPU: the same on any device
    return F.one_hot(drawn, logits.shape[-1]).to(logits)


def _second(logits: Tensor, _generator: torch.Generator) -> Tensor:
    return one_hot_maximum(logits.masked_fill(one_hot_maximum(logits) > 0, -torch.inf))


def _sampled(logits: Tensor, generator: torch.Generator) -> Tensor:
    likely = logits.float().softmax(-1).cpu().flatten(0, -2)
    drawn = torch.multinomial(likely, 1, generator=generator).view(logits.shape[:-1])
    return F.one_hot(drawn, logits.shape[-1]).to(logits)


_BY_RULE: dict[str, Replacement] = {
    "mean": _mean,
    "chance": _chance,
    "second": _second,
    "sampled": _sampled,
}

KINDS = (*CONTEXTS, *_BY_RULE)
"""Interventions: one context everywhere; the mean of all, one by chance, the second best, and one
drawn by its score, as in training."""


@contextmanager
def intervene(
    model: nn.Module,
    kind: str,
    *,
    blocks: Sequence[str] | None = None,
    region: Region | None = None,
    seed: int = 0,
) -> Iterator[None]:
    """While it is open, `model` nominates as `kind` says instead of by its scores.

    Interventions may be nested: each changes what those outside of it leave. A `NominationTrace`
    opened inside counts what is forced, one opened outside what would have been nominated; the
    probabilities that it records are the model's own either way. No gradient reaches the scores
    through weights that are replaced.

    Args:
        model: anything with a NomMer in it, also a fused or a compiled one (which then runs
            uncompiled).
        kind: one of `KINDS`: "convolution", "window", "global" forces that context; "mean" weighs
            all contexts alike; "chance" draws one per token, all alike likely; "second" takes the
            one with the second best score (without the noise of training); "sampled" draws one per
            token, each as likely as the softmax of its scores says: so a training of noise 1 draws.
        blocks: names of the blocks to change, as of `nominator_blocks`; all by default.
        region: where to change, bool (H, W) in pixels or (rows, columns) in cells, or one per image
            (B, H, W); resampled to the grid of each block (nearest). Everywhere by default.
        seed: of "chance" and "sampled". Each block draws from a generator of its own, which goes on
            from batch to batch.

    Raises:
        ValueError: an unknown kind or block (the message lists those known), a context that this
            model does not have, a region that is no map of bool.
    """
    nominations = nominator_blocks(model)
    names = list(nominations) if blocks is None else list(blocks)
    _check(nominations, names, kind, region)
    with without_compilation(model), ExitStack() as hooks:
        for index, (name, nomination) in enumerate(nominations.items()):
            if name in names:
                generator = torch.Generator().manual_seed(seed * len(nominations) + index)
                replace = _replacement(kind, nomination)
                hook = partial(_change, replace=replace, generator=generator, region=region)
                hooks.enter_context(nomination.register_forward_hook(hook))
        yield


def _check(
    nominations: dict[str, Nomination], names: Sequence[str], kind: str, region: Tensor | None
) -> None:
    if kind not in KINDS:
        raise ValueError(f"unknown intervention {kind!r}; choose from {', '.join(KINDS)}")
    for name in names:
        if name not in nominations:
            raise ValueError(f"unknown block {name!r}; this model has {', '.join(nominations)}")
        if kind in CONTEXTS and kind not in nominations[name].contexts:
            raise ValueError(
                f"{name} has no {kind} context, only {', '.join(nominations[name].contexts)}"
            )
    if region is not None and (region.dtype != torch.bool or region.ndim not in (2, 3)):
        raise ValueError(
            f"region must be bool, (H, W) or (B, H, W), got {region.dtype} {tuple(region.shape)}"
        )


def _replacement(kind: str, nomination: Nomination) -> Replacement:
    return (
        _BY_RULE[kind]
        if kind in _BY_RULE
        else partial(_one_context, nomination.contexts.index(kind))
    )


def _change(
    _module: nn.Module,
    inputs: tuple[NominationLogits],
    weights: NominationWeights,
    *,
    replace: Replacement,
    generator: torch.Generator,
    region: Tensor | None,
) -> NominationWeights:
    replaced = replace(inputs[0].detach(), generator).to(weights.dtype)
    return (
        replaced
        if region is None
        else torch.where(_at_grid(region.to(weights.device), weights), replaced, weights)
    )


def _at_grid(region: Tensor, weights: Tensor) -> Tensor:
    """Return the region on the token grid of `weights`, (1 or B, rows, columns, 1)."""
    maps = region.reshape(-1, 1, *region.shape[-2:]).float()
    return F.interpolate(maps, size=weights.shape[1:3], mode="nearest-exact")[:, 0, :, :, None] > 0
