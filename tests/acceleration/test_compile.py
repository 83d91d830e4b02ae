"""Compiled networks: the numbers of the plain ones, and how often torch compiles."""

import copy

import pytest
import torch
from timm import create_model
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from nommer.acceleration.compile import compile_blocks, compiled
from nommer.backbone.nominator import Nomination


@torch.no_grad()
@pytest.mark.usefixtures("unchecked")
def test_each_size_is_compiled_once_and_serves_batches_of_any_length(monkeypatch):
    torch.compiler.reset()
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
    counter, torch_compile = CompileCounterWithBackend("eager"), torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda method: torch_compile(method, fullgraph=True, backend=counter)
    )
    forward = compiled(network.forward)
    for batch, side, compilations in [
        (3, 32, 1),
        (2, 32, 2),
        (5, 32, 2),
        (5, 33, 3),
        (2, 33, 3),
        (4, 32, 3),
    ]:
        images = torch.randn(batch, 3, side, 32)
        torch.testing.assert_close(forward(images), network(images))
        assert counter.frame_count == compilations
    torch.compiler.reset()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor:UserWarning"
)  # torch's own, hidden without pytest
@pytest.mark.slow
@pytest.mark.long
def test_blocks_are_compiled_for_open_sizes(monkeypatch):
    """Grids that are one window, or one block, and large ones are graphs of their own.

    Then there are no more.

    Of the stages the first and the third, one of each kind.
    """
    torch.compiler.reset()
    model, graphs = create_model("nommer_micro"), CompileCounterWithBackend("aot_eager")
    torch_compile, how = torch.compile, {"fullgraph": True, "backend": graphs}
    monkeypatch.setattr(
        torch, "compile", lambda call, dynamic, options: torch_compile(call, dynamic=dynamic, **how)
    )
    for module in model.modules():
        if isinstance(module, Nomination):
            module.noise = torch.zeros_like  # drawn otherwise by compiled code
    plain = copy.deepcopy(model)
    assert compile_blocks(model)
    counts = []
    for size in [
        (64, 64),
        (97, 131),
        (225, 223),
        (33, 57),
        (448, 64),
        (224, 224),
        (300, 170),
        (61, 333),
    ]:
        images, found = torch.randn(2, 3, *size), []
        for network in (model, plain):
            grid = network.stages[0](network.stem(images))
            grid = network.stages[2](torch.cat([grid, grid], dim=-1)[:, ::2, ::2])
            weights = [weight for name, weight in network.named_parameters() if "score" not in name]
            gradients = torch.autograd.grad(grid.square().mean(), weights, allow_unused=True)
            found.append([grid, *(gradient for gradient in gradients if gradient is not None)])
        torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)
        counts.append(graphs.frame_count)
    torch.compiler.reset()
    assert counts[4:] == [counts[4]] * 4
    assert counts[4] <= 12


def test_a_network_without_blocks_is_left_as_it_is():
    assert not compile_blocks(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
