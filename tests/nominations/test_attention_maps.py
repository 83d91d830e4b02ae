"""Attention maps: the weights are those that make the network's outputs, the supports those that
matter.
"""

import math

import pytest
import torch
from einops import rearrange

from nommer import NomMer, fuse
from nommer.backbone.attention import MultiHeadAttention
from nommer.backbone.config import NomMerConfig
from nommer.nominations.attention_maps import ATTENTION, AttentionTrace, attention_weights
from nommer.nominations.intervention import intervene
from nommer.nominations.receptive import mixers

SIZE = (61, 90)
"""Of images that neither windows nor blocks fill: grids of 31 x 45, 16 x 23, 8 x 12 and 4 x 6
tokens.
"""

PLACES = [(0, 0), (60, 89), (30, 47)]


@pytest.fixture
def network(enliven_norms):
    torch.manual_seed(0)
    config = NomMerConfig(
        embed_dim=16,
        depths=(2, 1, 1, 2),
        num_heads=(2, 2, 2, 4),
        patch_size=2,
        num_classes=5,
        img_size=64,
    )
    network = enliven_norms(NomMer(config)).double().eval()
    for module in network.modules():
        if isinstance(module, MultiHeadAttention):  # so that weights differ from each other
            torch.nn.init.normal_(module.qkv.weight, std=0.3)
    return network


@pytest.fixture
def images():
    return torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)).double()


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def test_outputs_are_identical_and_hooks_are_gone(network, images):
    before = network(images)
    with AttentionTrace(network, PLACES):
        assert hooks(network) > 0
        assert torch.equal(network(images), before)
    assert hooks(network) == 0
    with AttentionTrace(network, []):
        assert hooks(network) == 0
    with pytest.raises(ValueError, match="one image at a time"), AttentionTrace(network, PLACES):
        network(images.expand(2, -1, -1, -1))
    assert hooks(network) == 0


def recorded(network, images):
    """Inputs and output of every attention in the network, by the name of its module."""
    found, handles = {}, []
    for name, module in network.named_modules():
        if isinstance(module, MultiHeadAttention):

            def keep(_module, inputs, output, name=name):
                found[name] = (*inputs, output)

            handles.append(module.register_forward_hook(keep))
    network(images)
    for handle in handles:
        handle.remove()
    return found


def test_weights_reproduce_what_attention_puts_out(network, images):
    modules, seen = dict(network.named_modules()), recorded(network, images)
    assert {name.split(".")[-2] for name in seen} >= {"window", "spectral"}
    for name, (x, *given, output) in seen.items():
        attention, bias = modules[name], given[0] if given else None
        sequences = x.flatten(1, -2)
        for index, tokens in enumerate(sequences):
            own = None if bias is None else bias[index % len(bias)].expand(attention.heads, -1, -1)
            weights = attention_weights(attention, tokens, range(len(tokens)), own)
            assert torch.allclose(weights.sum(-1), torch.ones(()).double())
            value = rearrange(
                attention.qkv(tokens), "n (qkv h d) -> qkv h n d", qkv=3, h=attention.heads
            )[2]
            attended = torch.einsum("q h n, h n d -> q h d", weights, value).flatten(1)
            assert torch.allclose(
                attention.proj(attended), output.flatten(1, -2)[index], atol=1e-12
            )


def of_token(network, images, place, kind):
    with intervene(network, kind), AttentionTrace(network, [place]) as trace:
        network(images)
    return [view for view in trace.views(0) if view.kind == kind]


@pytest.mark.parametrize("place", PLACES)
def test_a_window_is_seen_with_its_own_weights_and_padding_with_none(network, images, place):
    side = network.config.window_size
    views = of_token(network, images, place, "window")
    assert len(views) == 3
    with intervene(network, "window"):
        seen = recorded(network, images)
    for view, (stage, name, mixer) in zip(views, mixers(network), strict=False):
        rows, columns = network.config.grid_size(*SIZE, stage)
        row, column = place[0] // view.stride, place[1] // view.stride
        assert view.place == (row, column)
        expected = torch.zeros(rows, columns, dtype=torch.bool)
        expected[row // side * side :, column // side * side :][:side, :side] = True
        assert torch.equal(view.support, expected), "its window, as far as there are tokens"
        windows, bias, _ = seen[f"stages.{stage}.blocks.{int(name[-1]) - 1}.mixer.window.attention"]
        window = row // side * math.ceil(columns / side) + column // side
        weights = attention_weights(
            mixer.window.attention, windows[window], range(side**2), bias[window]
        )
        literal = weights[row % side * side + column % side].mean(0).view(side, side)
        inside = literal[: rows - row // side * side, : columns - column // side * side]
        assert torch.allclose(view.weights[view.support], inside.flatten())
        assert view.weights[~view.support].abs().sum() == 0
        assert view.weights.sum() == pytest.approx(1), "so that nothing is left for padding"
        assert view.share == 1


@pytest.mark.parametrize("place", PLACES)
def test_blocks_of_the_global_context_share_their_weight_between_their_tokens(
    network, images, place
):
    views = of_token(network, images, place, "global")
    with intervene(network, "global"):
        seen = recorded(network, images)
    assert len(views) == 3
    for view, (stage, name, mixer) in zip(views, mixers(network), strict=False):
        side = network.config.block_sizes[stage]
        blocks, _ = seen[f"stages.{stage}.blocks.{int(name[-1]) - 1}.mixer.spectral.attention"]
        row, column = place[0] // view.stride // side, place[1] // view.stride // side
        weights = attention_weights(
            mixer.spectral.attention, blocks[0].flatten(0, 1), [row * blocks.shape[2] + column]
        )
        literal = weights[0].mean(0).view(blocks.shape[1:3])
        assert view.support.all()
        for block_row in range(len(literal)):
            for block_column in range(literal.shape[1]):
                tokens = view.weights[block_row * side :, block_column * side :][:side, :side]
                assert tokens.sum() == pytest.approx(literal[block_row, block_column].item())
                assert tokens.min() == tokens.max()


def test_the_field_of_a_convolution_has_no_weights(network, images):
    for place, tokens in ((0, 0), 4), ((60, 89), 4), ((30, 47), 9):
        for view in of_token(network, images, place, "convolution"):
            assert view.weights is None
            assert view.support.sum() == tokens
            row, column = view.place
            assert view.support[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].all()


def test_attention_of_tokens_and_of_the_class_token(network, images):
    with AttentionTrace(network, PLACES) as trace:
        network(images)
    seen = recorded(network, images)
    for index in range(len(PLACES)):
        views = [view for view in trace.views(index) if view.kind == ATTENTION]
        assert [view.block for view in views] == [
            "stage 3 block 1",
            "stage 4 block 1",
            "stage 4 block 2",
        ]
        for view in views:
            assert view.weights.sum() + view.class_weight == pytest.approx(1)
            assert (view.class_weight > 0) == view.block.startswith("stage 4")
    attention = network.stages[3].blocks[1].mixer
    tokens = seen["stages.3.blocks.1.mixer"][0][0]
    literal = attention_weights(attention, tokens, range(len(tokens))).mean(1)
    row, column = PLACES[2][0] // 16, PLACES[2][1] // 16
    view = trace.views(2)[-1]
    assert torch.allclose(view.weights, literal[1 + row * 6 + column, 1:].view(4, 6))
    assert view.class_weight == pytest.approx(literal[1 + row * 6 + column, 0].item())
    (_, of_class) = trace.class_views()
    assert of_class.place is None
    assert torch.allclose(of_class.weights, literal[0, 1:].view(4, 6))
    assert of_class.class_weight == pytest.approx(literal[0, 0].item())


@pytest.mark.parametrize("context", ["convolution", "window", "global"])
def test_what_a_context_puts_out_depends_on_its_support_and_on_nothing_else(
    network, images, context
):
    mixer = network.stages[0].blocks[0].mixer
    module = {"convolution": mixer.convolution, "window": mixer.window, "global": mixer.spectral}[
        context
    ]
    for place in PLACES:
        view = of_token(network, images, place, context)[0]
        grid = (
            torch.randn(1, 31, 45, 16, generator=torch.Generator().manual_seed(1))
            .double()
            .requires_grad_()
        )
        (gradient,) = torch.autograd.grad(
            module(grid)[0, view.place[0], view.place[1]].square().sum(), grid
        )
        assert torch.equal(gradient[0].abs().sum(-1) > 0, view.support)


def test_nominations_are_those_of_the_network(network, images):
    with AttentionTrace(network, PLACES) as trace:
        network(images)
    assert [view.block for view in trace.views(0)] == [name for _, name, _ in mixers(network)]
    for index, place in enumerate(PLACES):
        for view in trace.views(index)[:3]:
            weights = {
                context: of_all[view.place].item()
                for context, of_all in trace.used[view.block].items()
            }
            assert weights[view.kind] == 1
            assert sum(weights.values()) == 1
            assert view.place == (place[0] // view.stride, place[1] // view.stride)


def test_fused_networks_see_the_same(network, images):
    network, images = network.float(), images.float()
    fused, views = fuse(network), []
    for model in (network, fused):
        with AttentionTrace(model, PLACES) as trace, torch.inference_mode():
            model(images)
        views.append(trace.views(2))
    for one, other in zip(*views, strict=True):
        assert one.kind == other.kind
        assert torch.equal(one.support, other.support)
        assert one.weights is None or torch.allclose(one.weights, other.weights, atol=1e-4)


def test_a_network_that_nominates_nothing_is_refused_and_left_as_it_was():
    network = NomMer(
        NomMerConfig(
            embed_dim=16, depths=(1, 1, 1, 1), num_heads=(2, 2, 2, 4), contexts=("window",)
        )
    )
    with (
        pytest.raises(ValueError, match="nothing nominates in this NomMer"),
        AttentionTrace(network, [(0, 0)]),
    ):
        pass
    assert hooks(network) == 0
