"""A NomMer for training: modules become faster ones that compute the same.

- linear layers by oneDNN on the CPU (`linear`);
- attention in bfloat16 on the CPU by products that have a fast backward pass (`attention`);
- on GPUs, block DCT and grouped convolution as one matrix per group (`spectral`);
- scores padded for a GPU's matrix products (`nominator`).
"""

from typing import TypeVar

from torch import nn

from nommer.acceleration.attention import Bfloat16Attention, Bfloat16GlobalAttention
from nommer.acceleration.linear import OneDNNLinear
from nommer.acceleration.nominator import PaddedNominator
from nommer.acceleration.spectral import MultipliedSpectralContext
from nommer.backbone.attention import GlobalAttention, MultiHeadAttention
from nommer.backbone.contexts import SpectralContext
from nommer.backbone.network import NomMer
from nommer.backbone.nominator import Nominator

Model = TypeVar("Model", bound=nn.Module)

FASTER: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: OneDNNLinear,
    MultiHeadAttention: Bfloat16Attention,
    GlobalAttention: Bfloat16GlobalAttention,
    SpectralContext: MultipliedSpectralContext,
    Nominator: PaddedNominator,
}
"""Modules, and the subclass that computes the same faster."""

_NOT_ON_A_CPU = SpectralContext
"""Multiplied out it takes as long there as in its literal form (`docs/log.md`)."""

_LITERAL = {faster: literal for literal, faster in FASTER.items()}


def accelerate(model: Model, device: str | None = None) -> Model:
    """Have every NomMer in `model` compute faster from now on, in training too.

    Modules change their class in place, as in torch's `fully_shard`: parameters, names, hooks and
    optimisers stay as they are. Outputs and gradients are the same up to rounding. For inference
    alone `nommer.fuse` is faster.

    Args:
        model: a network, or whatever holds some.
        device: type of the device that it is to compute on, such as "cpu" or "cuda"; by default
            that on which its weights are.

    Returns:
        `model` itself.
    """
    for network in model.modules():
        if isinstance(network, NomMer):
            where = device or next(network.parameters()).device.type
            chosen = {m: f for m, f in FASTER.items() if where != "cpu" or m is not _NOT_ON_A_CPU}
            _change_classes(network, chosen)
    return model


def literal(model: Model) -> Model:
    """Take back what `accelerate` did to `model`, and return it."""
    _change_classes(model, _LITERAL)
    return model


def _change_classes(model: nn.Module, classes: dict[type[nn.Module], type[nn.Module]]) -> None:
    for module in model.modules():
        module.__class__ = classes.get(type(module), type(module))
