"""A network with fewer contexts made of a trained one: its modules, its weights, nothing fresh.

A block with one context left has no nominator: what it computes is what the network at hand
computes where that context is nominated everywhere. Where two are left the nominator scores them
still, and scores are linear in the *sum* of the contexts (paper, section 3.3), in which the removed
one took part: its mean over tokens stands in for it, in the bias.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nommer.backbone.ablations import ATTRIBUTES, AblatedContext, ContextSum
from nommer.backbone.config import CONTEXTS, NomMerConfig
from nommer.backbone.network import NomMer
from nommer.backbone.nominator import NominatedContext, Nominator
from nommer.models.recogniser import Recogniser

Kept = Mapping[str, tuple[str, ...]]
"""Contexts of each nominator block by its name, such as "stage 1 block 1"."""

Means = Mapping[str, Mapping[str, Tensor]]
"""Mean over tokens of each context, (width,), by block and name."""


def contexts_of(network: NomMer) -> dict[str, tuple[str, ...]]:
    """Return the contexts of each block of stages 1 and 2, in forward order."""
    config = network.config
    return {
        f"stage {stage + 1} block {block + 1}": config.contexts_of(stage, block)
        for stage in (0, 1)
        for block in range(config.depths[stage])
    }


def _blocks_of(network: NomMer) -> dict[str, Any]:
    """Return each block of stages 1 and 2, by the names of `contexts_of`."""
    stages: Any = network.stages
    blocks = [block for stage in (0, 1) for block in stages[stage].blocks]
    return dict(zip(contexts_of(network), blocks, strict=True))


def mixers_of(network: NomMer) -> dict[str, Any]:
    """Return the mixer of each block of stages 1 and 2, by the names of `contexts_of`."""
    return {name: block.mixer for name, block in _blocks_of(network).items()}


def pruned_model(model: Recogniser, kept: Kept, means: Means) -> Recogniser:
    """Return a copy of a model whose blocks have the contexts in `kept` and no others.

    Args:
        model: with a NomMer, not fused.
        kept: of every block of stages 1 and 2, some of the contexts that it has.
        means: of the contexts that are removed where others are left to nominate.
    """
    pruned = copy.deepcopy(model)
    network: NomMer = pruned.backbone
    before = contexts_of(network)
    for name, block in _blocks_of(network).items():
        if kept[name] != before[name]:
            block.mixer = pruned_mixer(block.mixer, kept[name], means.get(name, {}))
    network.config = pruned_config(network.config, list(kept.values()))
    return pruned.eval()


def pruned_config(config: NomMerConfig, kept: Sequence[tuple[str, ...]]) -> NomMerConfig:
    """Return the description of a network with these contexts in the blocks of stages 1 and 2."""
    left = tuple(name for name in CONTEXTS if any(name in names for names in kept))
    changes: dict[str, Any] = {"contexts": left, "block_contexts": tuple(kept)}
    if len(left) == 1:
        changes["fusion"] = "nomination"
    if "global" not in left:
        changes |= {"compression": "dct", "kept_coefficients": None}
    return replace(config, **changes)


def pruned_mixer(
    mixer: NominatedContext, kept: tuple[str, ...], means: Mapping[str, Tensor]
) -> AblatedContext:
    """Return a mixer of some contexts of another, with their rows of the scores."""
    contexts = {ATTRIBUTES[name]: getattr(mixer, ATTRIBUTES[name]) for name in kept}
    if len(kept) == 1:
        return AblatedContext(contexts, ContextSum())
    return AblatedContext(contexts, _pruned_nominator(mixer.nominator, kept, means))


@torch.no_grad()
def _pruned_nominator(
    nominator: Nominator, kept: tuple[str, ...], means: Mapping[str, Tensor]
) -> Nominator:
    names, score = nominator.nomination.contexts, nominator.score
    rows = [names.index(name) for name in kept]
    nomination = type(nominator.nomination)(kept)
    found = Nominator(score.in_features, nomination).to(score.weight)
    found.score.weight.copy_(score.weight[rows])
    removed = [means[name].to(score.weight) for name in names if name not in kept]
    found.score.bias.copy_(score.bias[rows] + score.weight[rows] @ sum(removed))
    return found.train(nominator.training)


class ContextMeans:
    """Sums up the contexts of every nominator block while a network works, through hooks.

    Args:
        network: plain or fused, in a model that is evaluated.
    """

    def __init__(self, network: NomMer) -> None:
        self._sums: dict[str, list[Tensor]] = {}
        self._tokens: dict[str, int] = {}
        nominators = {
            name: mixer.nominator
            for name, mixer in mixers_of(network).items()
            if isinstance(mixer.nominator, Nominator)
        }
        self._names = {name: one.nomination.contexts for name, one in nominators.items()}
        self._handles = [
            one.register_forward_pre_hook(self._hook(name)) for name, one in nominators.items()
        ]

    def _hook(self, name: str) -> Any:
        def add(_module: nn.Module, contexts: tuple[Tensor, ...]) -> None:
            new = [context.detach().double().sum((0, 1, 2)) for context in contexts]
            old = self._sums.get(name, [torch.zeros(())] * len(new))
            self._sums[name] = [one.cpu() + other for one, other in zip(new, old, strict=True)]
            self._tokens[name] = self._tokens.get(name, 0) + contexts[0][..., 0].numel()

        return add

    def close(self) -> Means:
        """Take the hooks off, and return the means."""
        for handle in self._handles:
            handle.remove()
        return {
            name: {
                context: (total / self._tokens[name]).float()
                for context, total in zip(self._names[name], totals, strict=True)
            }
            for name, totals in self._sums.items()
        }
