"""Records which context every token nominates, through hooks that are always taken off again."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.network import NomMer
from nommer.backbone.nominator import NominatedContext, Nomination
from nommer.shapes import Nominations

_MEASURES = 2 * len(CONTEXTS) + 2
"""Numbers summed per token: nominated (3), probability (3), margin, entropy."""


def nominator_blocks(model: nn.Module) -> dict[str, Nomination]:
    """Return the nominations of a model by names such as "stage 1 block 1", in forward order.

    Raises:
        ValueError: `model` holds no NomMer, or several, or one in which nothing nominates.
    """
    if not holds_nominations(model) and any(
        isinstance(module, NominatedContext) for module in model.modules()
    ):
        raise ValueError(
            f"nothing nominates in this {type(model).__name__}: its network has a single context, "
            "or sums its contexts"
        )
    found = [
        (name.split("."), module)
        for name, module in model.named_modules()
        if isinstance(module, Nomination)
    ]
    if not found or any("stages" not in parts or "blocks" not in parts for parts, _ in found):
        raise ValueError(
            f"{type(model).__name__} holds no NomMer whose nominator blocks could be traced"
        )
    blocks: dict[str, Nomination] = {}
    for parts, module in found:
        stage, block = int(parts[parts.index("stages") + 1]), int(parts[parts.index("blocks") + 1])
        if blocks.setdefault(f"stage {stage + 1} block {block + 1}", module) is not module:
            raise ValueError(
                f"{type(model).__name__} holds more than one NomMer; trace one of them"
            )
    return blocks


def holds_nominations(model: nn.Module) -> bool:
    """Tell whether there is anything in `model` that nominates."""
    return any(isinstance(module, Nomination) for module in model.modules())


def nominates(model: Any) -> bool:
    """Tell if the network under a model is a NomMer in PyTorch that nominates."""
    return (
        model.exported is None
        and isinstance(model.backbone, NomMer)
        and holds_nominations(model.backbone)
    )


@contextmanager
def without_compilation(model: nn.Module) -> Iterator[None]:
    """Run `model` uncompiled: what was compiled before there were hooks would not call them."""
    compiled = any(
        hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
        for module in model.modules()
    )
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield


@dataclass(frozen=True)
class BlockStatistics:
    """Means of one block over all tokens seen; all 0 where none were."""

    tokens: int
    """Tokens that nominated."""
    shares: dict[str, float]
    """Share of the tokens that nominated each context, adding to 1."""
    probabilities: dict[str, float]
    """Mean softmax of the scores, per context, adding to 1."""
    margin: float
    """Mean difference of the best and second probability, 0 to 1: how clear the contests were."""
    entropy: float
    """Mean entropy of the probabilities over log(number of contexts): 0 sure, 1 open."""
    norms: dict[str, float] | None = None
    """Mean L2 norm of each context; with `keep_norms`."""


class NominationTrace(AbstractContextManager["NominationTrace"]):
    """While it is open, sums up what `model` nominates per block, or with `keep_maps` all of it.

    With `keep_maps`, keeps the maps too.

    Outputs are the same inside and outside; the hooks are gone afterwards, also after an exception.
    Without maps, memory does not grow with the images seen. Of a block whose contexts are mixed,
    the one with the largest weight counts as nominated; equal ones share the token. A block of two
    contexts has zeros in the place of the third.

    `model` may be anything with a NomMer in it: a classifier, segmenter or detector, timm's
    `features_only`, a fused copy. Of a compiled model give what `torch.compile` returned: it runs
    uncompiled while the trace is open, so it does not matter whether it has run before, and its
    outputs are then those of the plain model, which differ from the compiled one's by rounding. An
    exported model (ONNX, `torch.export`) has no modules to hook.

    Args:
        model: what to record; best in evaluation mode, where the contexts nominated are those with
            the best score.
        keep_maps: keep the nominated context and the probabilities of every token of every image.
        keep_norms: also record how large the contexts are.

    Raises:
        ValueError: nothing nominates in `model`, or it holds several NomMers.
    """

    def __init__(
        self, model: nn.Module, *, keep_maps: bool = False, keep_norms: bool = False
    ) -> None:
        self._model, self._modules = model, nominator_blocks(model)
        self._keep_maps, self._keep_norms = keep_maps, keep_norms
        self._hooks = ExitStack()
        self._sums: dict[str, Tensor | int] = dict.fromkeys(self._modules, 0)
        self._norms: dict[str, Tensor | int] = dict.fromkeys(self._modules, 0)
        self._maps: dict[str, list[Tensor]] = {name: [] for name in self._modules}
        self._probabilities: dict[str, list[Tensor]] = {name: [] for name in self._modules}

    def __enter__(self) -> "NominationTrace":
        self._hooks.enter_context(without_compilation(self._model))
        for name, module in self._modules.items():
            self._hooks.enter_context(module.register_forward_hook(partial(self._record, name)))
        for name, nominator in (
            _nominators(self._model, self._modules).items() if self._keep_norms else ()
        ):
            self._hooks.enter_context(
                nominator.register_forward_pre_hook(partial(self._record_norms, name))
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hooks.close()

    def _record(
        self, name: str, module: Nomination, inputs: tuple[Tensor], weights: Tensor
    ) -> None:
        weights, probabilities = weights.detach(), inputs[0].detach().float().softmax(-1)
        best, second = probabilities.topk(2, -1).values.unbind(-1)
        openness = entropy(probabilities, module.contexts)
        largest = (weights == weights.amax(-1, keepdim=True)).float()
        nominated = of_all_contexts(largest / largest.sum(-1, keepdim=True), module)
        probabilities = of_all_contexts(probabilities, module)
        measured = torch.cat(
            [nominated, probabilities, torch.stack([best - second, openness], -1)], -1
        )
        self._sums[name] = self._sums[name] + _sum_of_tokens(measured)
        if self._keep_maps:
            self._maps[name].append(nominated.argmax(-1).to("cpu", torch.uint8))
            self._probabilities[name].append(probabilities.cpu())

    def _record_norms(self, name: str, _nominator: nn.Module, contexts: tuple[Tensor, ...]) -> None:
        norms = torch.stack([context.detach().float().norm(dim=-1) for context in contexts], -1)
        self._norms[name] = self._norms[name] + _sum_of_tokens(
            of_all_contexts(norms, self._modules[name])
        )

    @property
    def blocks(self) -> list[str]:
        """Names of the nominator blocks, in forward order."""
        return list(self._modules)

    @property
    def contexts(self) -> tuple[str, ...]:
        """Names of the contexts that there are in any block, in the order of `CONTEXTS`."""
        return tuple(
            name
            for name in CONTEXTS
            if any(name in module.contexts for module in self._modules.values())
        )

    def counts(self) -> Tensor:
        """Tokens that nominated each context, (blocks, 3) float64 on the CPU."""
        return self._totals(self._sums, _MEASURES)[:, : len(CONTEXTS)]

    def shares(self) -> dict[str, dict[str, float]]:
        """Share of the tokens that nominated each context, per block; 0 to 1, adding to 1."""
        return shares(self.blocks, self.counts())

    def statistics(self) -> dict[str, BlockStatistics]:
        """Means over all tokens seen, per block."""
        sums, norms = self._totals(self._sums, _MEASURES), self._totals(self._norms, len(CONTEXTS))
        tokens = sums[:, : len(CONTEXTS)].sum(-1, keepdim=True)
        means, norms = sums / tokens.clamp_min(1), norms / tokens.clamp_min(1)
        return {
            name: BlockStatistics(
                tokens=round(tokens[row].item()),
                shares=_by_name(means[row, :3]),
                probabilities=_by_name(means[row, 3:6]),
                margin=means[row, 6].item(),
                entropy=means[row, 7].item(),
                norms=_by_name(norms[row]) if self._keep_norms else None,
            )
            for row, name in enumerate(self.blocks)
        }

    def maps(self, name: str) -> Nominations:
        """Return the nominated contexts of one block on all images, (B, rows, columns) uint8."""
        return torch.cat(self._maps[name])

    def probabilities(self, name: str) -> Tensor:
        """Return the softmax of one block's logits, (images, rows, columns, 3) float32."""
        return torch.cat(self._probabilities[name])

    def _totals(self, sums: dict[str, Tensor | int], length: int) -> Tensor:
        nothing = torch.zeros(length, dtype=torch.float64)
        return torch.stack(
            [
                total.cpu().double() if isinstance(total, Tensor) else nothing
                for total in sums.values()
            ]
        )


def entropy(probabilities: Tensor, contexts: Sequence[str]) -> Tensor:
    """Return the entropy of probabilities (..., n): 0 certain, 1 all alike probable.

    Args:
        probabilities: adding to 1; of `contexts`, or of all of `CONTEXTS` with 0 for those that
            there are not.
        contexts: that the network has, two or three.
    """
    return torch.special.entr(probabilities).sum(-1) / math.log(len(contexts))


def of_all_contexts(values: Tensor, nomination: Nomination) -> Float[Tensor, "*tokens 3"]:
    """Spread a block's values (..., contexts) to all of `CONTEXTS`, 0 where it has none.

    So an index means the same context in every network.
    """
    if values.shape[-1] == len(CONTEXTS):
        return values
    spread = values.new_zeros(*values.shape[:-1], len(CONTEXTS))
    spread[..., [CONTEXTS.index(name) for name in nomination.contexts]] = values
    return spread


def _sum_of_tokens(values: Tensor) -> Tensor:
    exact = (
        torch.float32 if values.device.type == "mps" else torch.float64
    )  # Apple's GPUs have no float64
    return values.sum((0, 1, 2), dtype=exact)


def _by_name(values: Tensor) -> dict[str, float]:
    return dict(zip(CONTEXTS, values.tolist(), strict=True))


def _nominators(model: nn.Module, nominations: Mapping[str, Nomination]) -> dict[str, nn.Module]:
    """Return each block's module that is given the contexts and holds the nomination."""
    holders: dict[nn.Module, nn.Module] = {
        child: module for module in model.modules() for child in module.children()
    }
    return {name: holders[nomination] for name, nomination in nominations.items()}


def shares(blocks: list[str], counts: Tensor) -> dict[str, dict[str, float]]:
    """Return counts (blocks, 3) as shares per block and context."""
    normalised = counts / counts.sum(-1, keepdim=True).clamp_min(1)
    return {
        name: dict(zip(CONTEXTS, row.tolist(), strict=True))
        for name, row in zip(blocks, normalised, strict=True)
    }
