"""Linear layers by oneDNN against torch's: values, gradients, and where they leave off."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nommer.acceleration import linear as linear_module
from nommer.acceleration.linear import OneDNNLinear
from nommer.backbone.contexts.window import WindowContext

pytestmark = pytest.mark.usefixtures("unchecked")


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def gradients(function, inputs, cotangent):
    """The value of a function of some tensors, and its gradients."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    out = function(*leaves)
    (out * cotangent).sum().backward()
    return out.detach(), [leaf.grad for leaf in leaves]


@pytest.fixture
def calls(monkeypatch):
    """Return how often oneDNN's product was called."""
    made, product = [], linear_module._product
    monkeypatch.setattr(linear_module, "_product", lambda *args: made.append(1) or product(*args))
    return made


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 5, 7, 24), (3, 24), (1, 49, 24)], ids=str)
def test_linear_is_torchs_in_value_and_gradients(draw, calls, shape, bias):
    layer = OneDNNLinear(24, 40, bias=bias)
    x, cotangent = (
        draw(*shape),
        draw(40, *shape[:-1], seed=1).movedim(0, -1),
    )  # a gradient that lies another way
    weights = [layer.weight, layer.bias] if bias else [layer.weight]

    def ours(x, *weights):
        named = dict(zip(("weight", "bias"), weights, strict=False))
        return torch.func.functional_call(layer, named, x)

    value, found = gradients(ours, [x, *weights], cotangent)
    expected, wanted = gradients(F.linear, [x, *weights], cotangent)
    assert len(calls) == 2
    close(value, expected)
    for one, other in zip(found, wanted, strict=True):
        close(one, other)
    with torch.no_grad():
        close(layer(x), F.linear(x, layer.weight, layer.bias))
    assert len(calls) == 3


def test_linear_leaves_other_computations_to_torch(draw, calls):
    layer, x = OneDNNLinear(8, 4), draw(3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert OneDNNLinear(8, 4).double()(x.double()).dtype == torch.float64
    assert layer(x[0]).shape == (4,)
    assert layer(x[:0]).shape == (0, 4)
    program = torch.export.export(layer, (x,))
    assert all("mkldnn" not in str(node.target) for node in program.graph.nodes)
    close(torch.func.vmap(layer)(x), layer(x))
    assert len(calls) == 1


def test_linear_has_gradients_of_gradients(draw):
    layer, x = OneDNNLinear(6, 5), draw(3, 6).requires_grad_()

    def penalty(layer):
        gradient = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)[0]
        return torch.autograd.grad(gradient.square().sum(), [layer.weight, x])

    plain = nn.Linear(6, 5)
    plain.load_state_dict(layer.state_dict())
    for found, expected in zip(penalty(layer), penalty(plain), strict=True):
        close(found, expected)


@pytest.fixture
def window():
    """A window context with two linear layers by oneDNN, and what it is given."""
    torch.manual_seed(0)
    context = WindowContext(16, heads=2, window_size=4).requires_grad_(False)
    for layer in (context.attention.qkv, context.attention.proj):
        layer.__class__ = OneDNNLinear
    return context, torch.randn(1, 8, 8, 16)


def test_what_counts_operations_sees_them_all(window):
    module, x = window
    counts = []
    for device in ("cpu", "meta"):
        with (
            FlopCounterMode(display=False) as counter,
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
        ):
            module.to(device)(
                x.to(device)
            )  # torch's counter does not know fused attention on the CPU
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 2 * 64 * (4 * 16**2 + 2 * 16 * 16)


def test_a_profile_shows_the_faster_products(window, calls):
    module, x = window
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]), torch.no_grad():
        module(x)
    assert len(calls) == 2


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")  # of torch's own code
@pytest.mark.parametrize("enabled", [True, False])
def test_forward_derivatives_are_those_of_differences(window, enabled):
    module, x = window
    direction, step = torch.randn_like(x), 1e-2
    with torch.no_grad():
        expected = (module(x + step * direction) - module(x - step * direction)) / (2 * step)
    with forward_ad.dual_level(), torch.set_grad_enabled(enabled), sdpa_kernel(SDPBackend.MATH):
        tangent = forward_ad.unpack_dual(module(forward_ad.make_dual(x, direction))).tangent
    torch.testing.assert_close(
        tangent, expected, rtol=1e-2, atol=1e-2 * expected.abs().max().item()
    )
