"""Packed layers inside what torch.compile makes: a custom op that it does not look into.

Packed weights are no tensors that a compiler can take apart, so a graph holds the layer's number in
their place.
"""

from itertools import count
from typing import Protocol, runtime_checkable
from weakref import WeakValueDictionary

import torch
from torch import Tensor


@runtime_checkable
class Layer(Protocol):
    """A layer with packed weights."""

    def compute(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """Compute the layer by its packed weights."""
        ...

    def shaped(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape and layout that comes out."""
        ...


_LAYERS: WeakValueDictionary[int, Layer] = WeakValueDictionary()
_NUMBERS = count()


def register(layer: Layer) -> int:
    """Return the number by which a graph knows `layer`, as long as it exists."""
    number = next(_NUMBERS)
    _LAYERS[number] = layer
    return number


_NAME = "nommer::packed_layer"

# `torch.library.custom_op` would do the same, and look through the source of all that is imported:
# a quarter of a second at every start
torch.library.define(
    _NAME,
    "(Tensor x, Tensor? residual, int number) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)


@torch.library.impl(_NAME, "cpu")
def _compute(x: Tensor, residual: Tensor | None, number: int) -> Tensor:
    return _LAYERS[number].compute(x, residual)


@torch.library.impl(_NAME, "meta")
def _shaped(x: Tensor, residual: Tensor | None, number: int) -> Tensor:
    return _LAYERS[number].shaped(x)


def packed_layer(x: Tensor, residual: Tensor | None, number: int) -> Tensor:
    """Compute the layer of this number."""
    out: Tensor = torch.ops.nommer.packed_layer(x, residual, number)
    return out
