"""Every part against its slow, literal reference, in float64, in values and in gradients.

Odd grids included.
"""

import pytest
import torch

from nommer.backbone.ablations import OverlappingStem
from nommer.backbone.attention import GlobalAttention
from nommer.backbone.block import Block
from nommer.backbone.building import build_mixer
from nommer.backbone.compression import BlockTransform
from nommer.backbone.config import NomMerConfig
from nommer.backbone.contexts import ConvolutionContext, SpectralContext, WindowContext
from nommer.backbone.network import NomMer
from nommer.backbone.nominator import Nomination, gumbel_noise
from nommer.backbone.stem import Downsample, Stem

pytestmark = pytest.mark.usefixtures("float64")

GRIDS = [(14, 14), (9, 13), (7, 8), (1, 5)]


def gradient(tensor):
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def assert_same(module, expected, x):
    """`module(x)` and `expected(x, weights)` agree in value and in every gradient, that of `x`
    included.
    """
    weights = {
        name: buffer.clone() for name, buffer in module.named_buffers()
    }  # as they are before a training step
    weights |= {
        name: parameter.detach().clone().requires_grad_()
        for name, parameter in module.named_parameters()
    }
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, reference = module(ours), expected(theirs, weights)
    torch.testing.assert_close(out, reference, rtol=1e-9, atol=1e-9)
    cotangent = torch.randn_like(out)
    (out * cotangent).sum().backward()
    (reference * cotangent).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-8)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(
            gradient(parameter),
            gradient(weights[name]),
            rtol=1e-8,
            atol=1e-8,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@pytest.mark.parametrize("k", [1, 4, 5, 8])
def test_block_dct_is_the_sum_of_cosines(reference, draw, k):
    grid = draw(2, 2 * k, 3 * k, 3)
    kept = -(-k // 2)
    assert_same(BlockTransform(k), lambda x, _: reference.block_dct(x, k=k, kept=kept), grid)


@pytest.mark.parametrize("k", [1, 4, 5, 8])
def test_inverse_block_dct_is_the_sum_of_cosines(reference, draw, k):
    kept = -(-k // 2)
    dct = BlockTransform(k)
    x = draw(2, 2, 3, 3 * kept**2)
    torch.testing.assert_close(
        dct.inverse(x), reference.inverse_block_dct(x, k=k, kept=kept), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("k", [4, 8])
def test_block_dct_is_orthonormal_and_projects_on_the_low_frequencies(draw, k):
    dct = BlockTransform(k)
    torch.testing.assert_close(dct.basis @ dct.basis.T, torch.eye(dct.kept**2), rtol=0, atol=1e-14)
    once = dct.inverse(dct(draw(1, 2 * k, k, 2)))
    torch.testing.assert_close(dct.inverse(dct(once)), once, rtol=0, atol=1e-13)
    constant = torch.ones(1, k, k, 1)
    torch.testing.assert_close(dct.inverse(dct(constant)), constant, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(2, 10, 16), (2, 3, 5, 16)], ids=["sequence", "grid"])
def test_global_attention(reference, draw, enliven, shape):
    module = enliven(GlobalAttention(16, heads=4))
    assert_same(
        module, lambda x, weights: reference.global_attention(x, weights, heads=4), draw(*shape)
    )


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("side", "heads"), [(7, 2), (4, 1)])
def test_window_context_attends_to_real_tokens_only(reference, draw, enliven, grid, side, heads):
    module = enliven(WindowContext(8, heads=heads, window_size=side))
    assert_same(
        module,
        lambda x, weights: reference.window_context(x, weights, heads=heads, side=side),
        draw(2, *grid, 8),
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_convolution_context(reference, draw, enliven, grid, training):
    module = enliven(ConvolutionContext(8, expansion=2)).train(training)
    assert_same(
        module,
        lambda x, weights: reference.convolution_context(x, weights, training=training),
        draw(2, *grid, 8),
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("k", [4, 8])
@pytest.mark.parametrize("grid", [*GRIDS, (16, 8)])
def test_spectral_context(reference, draw, enliven, grid, k, training):
    module = enliven(SpectralContext(16, heads=2, transform=BlockTransform(k))).train(training)
    settings = {"heads": 2, "k": k, "training": training}
    assert_same(
        module,
        lambda x, weights: reference.spectral_context(x, weights, **settings),
        draw(2, *grid, 16),
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("grid", [(14, 14), (9, 13)])
def test_nominated_context_and_its_straight_through_gradient(
    reference, draw, enliven, grid, training
):
    module = enliven(build_mixer(NomMerConfig(embed_dim=16), stage=0)).train(training)
    noise = gumbel_noise(draw(2, *grid, 3))
    module.nominator.nomination.noise = lambda _logits: noise
    settings = {
        "heads": 2,
        "side": 7,
        "k": 8,
        "training": training,
        "noise": noise if training else None,
    }
    assert_same(
        module,
        lambda x, weights: reference.nominated_context(x, weights, **settings),
        draw(2, *grid, 16),
    )
    assert (
        module.nominator.score.weight.grad is not None
    ) == training  # a choice without noise has no gradient


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_stem(reference, draw, enliven, stride, training):
    module = enliven(Stem(3, 8, patch_size=stride)).train(training)
    assert_same(
        module,
        lambda x, weights: reference.stem(x, weights, stride=stride, training=training),
        draw(2, 3, 9, 14),
    )


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("stride", [4, 2, 1])
def test_overlapping_stem(reference, draw, enliven, stride, training):
    module = enliven(OverlappingStem(3, 16, patch_size=stride)).train(training)

    def expected(x, weights):
        return reference.overlapping_stem(x, weights, stride=stride, training=training)

    assert_same(module, expected, draw(2, 3, 9, 14))


@pytest.mark.parametrize("grid", [(8, 6), (9, 13), (1, 1), (1, 2)])
def test_downsample_keeps_an_odd_border(reference, draw, enliven, grid):
    assert_same(enliven(Downsample(4, 8)), reference.downsample, draw(2, *grid, 4))


def test_block_of_the_global_stages(reference, draw, enliven):
    module = enliven(Block(16, GlobalAttention(16, heads=4), mlp_ratio=2, drop_path=0.0))

    def expected(x, weights):
        return reference.block(
            x, weights, lambda x, own: reference.global_attention(x, own, heads=4)
        )

    assert_same(module, expected, draw(2, 3, 5, 16))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("size", "changes"),
    [
        ((97, 131), {}),
        (
            (35, 43),
            {"patch_size": 1, "window_size": 4, "block_sizes": (6, 3), "depths": (1, 2, 1, 1)},
        ),
    ],
    ids=["97x131", "35x43 at stride 1"],
)
def test_whole_network(reference, draw, enliven, size, changes, training):
    config = NomMerConfig(
        **{
            "embed_dim": 8,
            "depths": (2, 1, 1, 1),
            "num_heads": (1, 2, 2, 4),
            "num_classes": 5,
            "img_size": size,
        }
        | changes
    )
    module = enliven(NomMer(config)).train(training)
    settings = {
        "heads": config.num_heads,
        "side": config.window_size,
        "block_sizes": config.block_sizes,
        "depths": config.depths,
        "stride": config.patch_size,
        "training": training,
    }
    noises = []
    for nomination in (part for part in module.modules() if isinstance(part, Nomination)):
        nomination.noise = lambda logits: noises.append(gumbel_noise(logits)) or noises[-1]
    assert_same(
        module,
        lambda x, weights: reference.network(x, weights, noises=noises, **settings),
        draw(2, 3, *size),
    )
