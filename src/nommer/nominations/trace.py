"""Records which context every token nominates, through hooks that are always taken off again."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.nominator import Nomination
from nommer.shapes import Nominations


def nominator_blocks(model: nn.Module) -> dict[str, Nomination]:
    """The places where a model nominates, in forward order, by a short name such as "stage 1 block 1".

    Raises:
        ValueError: `model` holds no NomMer, or several.
    """
    found = [(name.split("."), module) for name, module in model.named_modules() if isinstance(module, Nomination)]
    if not found or any("stages" not in parts or "blocks" not in parts for parts, _ in found):
        raise ValueError(f"{type(model).__name__} holds no NomMer whose nominator blocks could be traced")
    blocks: dict[str, Nomination] = {}
    for parts, module in found:
        stage, block = int(parts[parts.index("stages") + 1]), int(parts[parts.index("blocks") + 1])
        if blocks.setdefault(f"stage {stage + 1} block {block + 1}", module) is not module:
            raise ValueError(f"{type(model).__name__} holds more than one NomMer; trace one of them")
    return blocks


def holds_nominations(model: nn.Module) -> bool:
    """Whether there is anything in `model` that nominates."""
    return any(isinstance(module, Nomination) for module in model.modules())


@contextmanager
def without_compilation(model: nn.Module) -> Iterator[None]:
    """Run `model` uncompiled where it is compiled: what was compiled before there were hooks would not call them."""
    compiled = any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in model.modules())
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield


class NominationTrace(AbstractContextManager["NominationTrace"]):
    """While it is open, counts what `model` nominates per block; with `keep_maps`, keeps the maps too.

    Outputs are the same inside and outside; the hooks are gone afterwards, also after an exception.
    """

    def __init__(self, model: nn.Module, *, keep_maps: bool = False) -> None:
        self._modules = nominator_blocks(model)
        self._keep_maps = keep_maps
        self._handles: list[RemovableHandle] = []
        self._counts: dict[str, Tensor | int] = dict.fromkeys(self._modules, 0)
        self._maps: dict[str, list[Tensor]] = {name: [] for name in self._modules}
        self._probabilities: dict[str, list[Tensor]] = {name: [] for name in self._modules}

    def __enter__(self) -> "NominationTrace":
        for name, module in self._modules.items():
            self._handles.append(
                module.register_forward_hook(lambda _m, args, out, name=name: self._record(name, args[0], out))
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _record(self, name: str, logits: Tensor, weights: Tensor) -> None:
        weights = weights.detach()
        self._counts[name] = self._counts[name] + weights.sum((0, 1, 2), dtype=torch.float64)
        if self._keep_maps:
            self._maps[name].append(weights.argmax(-1).to("cpu", torch.uint8))
            self._probabilities[name].append(logits.detach().float().softmax(-1).cpu())

    @property
    def blocks(self) -> list[str]:
        """Names of the nominator blocks, in forward order."""
        return list(self._modules)

    def counts(self) -> Tensor:
        """Tokens that nominated each context, (blocks, 3) float64 on the CPU."""
        return torch.stack(
            [
                torch.as_tensor(c).cpu() if isinstance(c, Tensor) else torch.zeros(3).double()
                for c in self._counts.values()
            ]
        )

    def shares(self) -> dict[str, dict[str, float]]:
        """Share of the tokens that nominated each context, per block; 0 to 1, adding to 1."""
        return shares(self.blocks, self.counts())

    def maps(self, name: str) -> Nominations:
        """Nominated context per token of one block for all images seen, (images, rows, columns) uint8."""
        return torch.cat(self._maps[name])

    def probabilities(self, name: str) -> Tensor:
        """Softmax of one block's logits for all images seen, (images, rows, columns, 3) float32: how close it was."""
        return torch.cat(self._probabilities[name])


def shares(blocks: list[str], counts: Tensor) -> dict[str, dict[str, float]]:
    """Counts (blocks, 3) as shares per block and context."""
    normalised = counts / counts.sum(-1, keepdim=True).clamp_min(1)
    return {name: dict(zip(CONTEXTS, row.tolist(), strict=True)) for name, row in zip(blocks, normalised, strict=True)}
