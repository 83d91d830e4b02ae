"""Packed layers against the plain ones that they are made from."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from nommer.acceleration.packed import can_pack, pack

DTYPES = [torch.float32, torch.bfloat16, torch.float64]


def close(found, expected):
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float64: 1e-12}[expected.dtype]
    assert found.dtype == expected.dtype
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_linear_layer_computes_the_same(dtype, bias):
    torch.manual_seed(0)
    linear, x = nn.Linear(24, 40, bias=bias).to(dtype), torch.randn(2, 5, 7, 24, dtype=dtype)
    residual = torch.randn(2, 5, 7, 40, dtype=dtype)
    with torch.no_grad():
        close(pack(linear)(x), linear(x))
        close(pack(linear, "gelu")(x), F.gelu(linear(x)))
        close(pack(linear, "relu")(x[:1, :2]), F.relu(linear(x[:1, :2])))
        close(pack(linear)(x, residual), linear(x) + residual)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options", [{}, {"padding": 1, "stride": 2}, {"groups": 4, "padding": 2, "dilation": 2}]
)
def test_a_packed_convolution_computes_the_same_at_sizes_other_than_the_first(dtype, options):
    torch.manual_seed(1)
    conv = nn.Conv2d(8, 12, 3, **options).to(dtype)
    packed, plain = pack(conv, "relu"), pack(conv)
    with torch.no_grad():
        for size in [(16, 16), (9, 31), (64, 5)]:
            x = torch.randn(2, 8, *size, dtype=dtype).contiguous(memory_format=torch.channels_last)
            close(packed(x), F.relu(conv(x)))
            residual = torch.randn_like(conv(x))
            close(packed(x, residual), F.relu(conv(x) + residual))
            close(plain(x, residual), conv(x) + residual)


def test_new_weights_another_dtype_and_a_copy_are_packed_anew():
    torch.manual_seed(2)
    packed, x = pack(nn.Linear(8, 8)), torch.randn(3, 8)
    other = nn.Linear(8, 8)
    with torch.no_grad():
        packed(x)
        assert packed._packed is not None
        assert copy.deepcopy(packed)._packed is None
        close(copy.deepcopy(packed)(x), packed(x))
        packed.load_state_dict(other.state_dict())
        close(packed(x), other(x))
        close(packed.double()(x.double()), other.double()(x.double()))


def test_gradients_autocast_and_export_take_the_plain_layer():
    torch.manual_seed(3)
    linear, x = nn.Linear(8, 4), torch.randn(3, 8, requires_grad=True)
    packed = pack(linear, "gelu")
    packed(x).sum().backward()
    assert x.grad is not None
    assert linear.weight.grad is not None
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert packed(x).dtype == torch.bfloat16
    program = torch.export.export(packed, (x.detach(),))
    assert all("mkldnn" not in str(node.target) for node in program.graph.nodes)


@torch.no_grad()
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16], ids=str)
def test_under_autocast_packed_layers_are_the_plain_ones(given):
    torch.manual_seed(6)
    linear, conv = nn.Linear(16, 16), nn.Conv2d(16, 16, 3, padding=1, groups=2)
    maps = torch.randn(2, 16, 6, 7).contiguous(memory_format=torch.channels_last).to(given)
    grid = maps.permute(0, 2, 3, 1)
    layers = (linear, pack(linear), grid), (conv, pack(conv), maps)
    for layer, packed, x in layers:
        before = packed(x.float())
        for residual in (None, x.float(), x.bfloat16()):
            with torch.autocast("cpu", torch.bfloat16):
                found, expected = packed(x, residual), layer(x)
            expected = expected if residual is None else expected + residual
            close(found.bfloat16(), expected.bfloat16())
            assert found.dtype == expected.dtype
            assert packed._packed[-1] == torch.bfloat16
        assert torch.equal(packed(x.float()), before)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")  # of torch's own code
@torch.no_grad()
def test_what_looks_into_the_computation_finds_the_plain_layer():
    torch.manual_seed(4)
    linear, conv, x = nn.Linear(8, 4), nn.Conv2d(3, 5, 3), torch.randn(3, 8)
    for layer, given, products in (
        (linear, x, 3 * 8 * 4),
        (conv, torch.randn(1, 3, 6, 6), 16 * 27 * 5),
    ):
        packed = pack(layer)
        packed(given)
        with FlopCounterMode(display=False) as counter:
            packed(given)
        assert counter.get_total_flops() == 2 * products
        with forward_ad.dual_level():
            tangent = forward_ad.unpack_dual(packed(forward_ad.make_dual(given, given))).tangent
        close(tangent, layer(given) - layer(torch.zeros_like(given)))
    close(torch.func.vmap(pack(linear))(x), linear(x))


def test_what_is_no_plain_layer_is_not_packed():
    class Special(nn.Linear):
        pass

    assert not can_pack(Special(2, 2))
    assert not can_pack(nn.Conv2d(2, 2, 3, padding="same"))
    assert not can_pack(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"))
    with pytest.raises(ValueError, match="relu or none"):
        pack(nn.Conv2d(2, 2, 1), "gelu")


@torch.no_grad()
def test_compiled_layers_give_the_very_numbers_at_several_sizes_and_with_new_weights():
    torch.manual_seed(3)
    torch.compiler.reset()
    conv, linear = pack(nn.Conv2d(8, 8, 3, padding=1), "relu"), pack(nn.Linear(8, 8), "gelu")

    def network(maps):
        return linear(conv(maps, maps).permute(0, 2, 3, 1) * 2)

    graphs = []

    def backend(graph, _inputs):
        graphs.append([str(node.target) for node in graph.graph.nodes])
        return graph

    compiled = torch.compile(network, fullgraph=True, backend=backend)
    for size in ((5, 7), (9, 6), (4, 12)):
        maps = torch.randn(2, 8, *size).contiguous(memory_format=torch.channels_last)
        found = compiled(maps)
        assert torch.equal(found, network(maps))
        assert found.stride() == network(maps).stride()
    assert sum("packed_layer" in name for name in graphs[0]) == 2
    linear.load_state_dict(nn.Linear(8, 8).state_dict())
    assert torch.equal(compiled(maps), network(maps))
    torch.compiler.reset()


@torch.no_grad()
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("options", [{"stride": 4}, {"padding": 1, "groups": 4}])
def test_a_compiler_is_told_the_layout_that_comes_out(layout, options):
    """Else what it makes of a stem, which gets images as they are, refuses its own numbers."""
    layer = pack(nn.Conv2d(8, 12, 4 if "stride" in options else 3, **options))
    x = torch.randn(2, 8, 16, 16).contiguous(memory_format=layout)
    found = layer(x)
    for told in (layer.shaped(x), layer.shaped(x.to("meta"))):
        assert (told.shape, told.stride()) == (found.shape, found.stride())
    residual = torch.randn_like(found).contiguous(memory_format=layout)
    assert layer(x, residual).stride() == found.stride()


@torch.no_grad()
def test_an_export_holds_plain_layers():
    layer, x = pack(nn.Linear(8, 4), "gelu"), torch.randn(2, 8)
    program = torch.export.export(layer, (x,))
    assert not [node for node in program.graph.nodes if "packed_layer" in str(node.target)]
    close(program.module()(x), layer(x))
