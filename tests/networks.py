"""Fixtures of networks, for the folders whose `conftest.py` imports them."""

import pytest
import timm
import torch
from torch import nn

import nommer  # noqa: F401  registers the models
from nommer.backbone.nominator import Nomination
from tests import reference


@pytest.fixture(scope="session", name="reference")
def literal_reference():
    """The literal reference of every part, `tests/reference.py`."""
    return reference


@pytest.fixture
def float64():
    """Everything is built in float64, the constant buffers too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def draw():
    """Seeded standard normal tensor of a shape."""

    def draw(*shape, seed=0, dtype=None):
        dtype = torch.get_default_dtype() if dtype is None else dtype
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)

    return draw


@torch.no_grad()
def enliven(module, seed=0):
    """Draw every parameter and running statistic anew, so that each matters to the output."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor, std, mean=0.0):
        tensor.copy_(
            mean + std * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        )

    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            norm_scale = isinstance(part, nn.BatchNorm2d | nn.LayerNorm) and name == "weight"
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 25
            normal(
                parameter, 0.2 if norm_scale else min(1.0, fan_in**-0.5), 1.0 if norm_scale else 0.0
            )
        if isinstance(part, nn.BatchNorm2d):
            normal(part.running_mean, 0.2)
            normal(part.running_var, 0.1, 1.0)
            part.running_var.abs_()
    return module


@pytest.fixture(scope="session", name="enliven")
def enliven_weights():
    return enliven


@pytest.fixture(scope="session")
def create():
    """`timm.create_model`, micro unless named, with lively weights, in evaluation mode."""

    def create(name="nommer_micro", **options):
        return enliven(timm.create_model(name, **options)).eval()

    return create


class Recorder:
    """Return what the nominators of a model chose, in the order in which they ran.

    (B, rows, columns, 3) each.
    """

    def __init__(self, model):
        self.weights = []
        for module in model.modules():
            if isinstance(module, Nomination):
                module.register_forward_hook(
                    lambda _module, _inputs, output: self.weights.append(output.detach())
                )


@pytest.fixture(scope="session")
def record():
    """Record from now on what a model nominates."""
    return Recorder
