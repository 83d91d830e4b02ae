"""`compiled`: the numbers of the plain network, one compilation for each size and none for each length of a batch."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from nommer.engine.speed import compiled


@torch.no_grad()
@pytest.mark.usefixtures("unchecked")
def test_each_size_is_compiled_once_and_serves_batches_of_any_length(monkeypatch):
    torch.compiler.reset()
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
    counter, torch_compile = CompileCounterWithBackend("eager"), torch.compile
    monkeypatch.setattr(torch, "compile", lambda method: torch_compile(method, fullgraph=True, backend=counter))
    forward = compiled(network.forward)
    for batch, side, compilations in [(3, 32, 1), (2, 32, 2), (5, 32, 2), (5, 33, 3), (2, 33, 3), (4, 32, 3)]:
        images = torch.randn(batch, 3, side, 32)
        torch.testing.assert_close(forward(images), network(images))
        assert counter.frame_count == compilations
    torch.compiler.reset()
