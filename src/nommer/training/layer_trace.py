"""The first layer in which NaN or infinite values appear, in outputs or in gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn


@dataclass(frozen=True)
class Seen:
    """One tensor on its way."""

    where: str
    """weights, input, forward, loss, backward or gradient."""
    layer: str
    """Name of the layer, of the parameter, or nothing."""
    kind: str
    """Class of the layer."""
    values: int
    not_finite: int
    largest: float
    """Largest magnitude of those that are finite; 0 where none is."""

    @classmethod
    def of(cls, tensor: Tensor, where: str, layer: str = "", kind: str = "") -> "Seen":
        """Summarise a tensor."""
        finite = torch.isfinite(tensor)
        largest = torch.where(finite, tensor, 0).abs().max() if tensor.numel() else torch.zeros(())
        return cls(where, layer, kind, tensor.numel(), int((~finite).sum()), float(largest))


class LayerTrace:
    """Everything seen while it is recorded, in the order of the computation."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    @property
    def first(self) -> Seen | None:
        """The first that holds a value that is NaN or infinite."""
        return next((seen for seen in self.seen if seen.not_finite), None)

    def look(self, value: Any, where: str, layer: str = "", kind: str = "") -> None:
        """Note the floating-point tensors in `value`, nested as it may be."""

        def note(tensor: Tensor) -> Tensor:
            if tensor.is_floating_point():
                self.seen.append(Seen.of(tensor.detach(), where, layer, kind))
            return tensor

        apply_to_collection(value, Tensor, note)

    @contextmanager
    def recorded(self, model: nn.Module) -> Iterator[None]:
        """Note every layer's output, and its gradient, as long as this lasts."""
        handles = [
            module.register_forward_hook(self._hook(name, type(module).__name__))
            for name, module in model.named_modules()
            if name
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, layer: str, kind: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            self.look(output, "forward", layer, kind)
            apply_to_collection(output, Tensor, watch)

        def watch(tensor: Tensor) -> Tensor:
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: self.look(gradient, "backward", layer, kind))  # type: ignore[no-untyped-call]
            return tensor

        return hook
