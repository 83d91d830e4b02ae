"""The network for training against the plain one, its literal twin, and against the reference."""

import copy
import itertools

import pytest
import timm
import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nommer import NominationTrace, NomMerConfig
from nommer.acceleration.fuse import fuse
from nommer.acceleration.linear import OneDNNLinear
from nommer.acceleration.nominator import PaddedNominator, padded_linear
from nommer.acceleration.spectral import MultipliedSpectralContext
from nommer.acceleration.training import FASTER, accelerate, literal
from nommer.backbone.compression import BlockTransform
from nommer.backbone.contexts import SpectralContext
from nommer.backbone.network import NomMer
from nommer.backbone.nominator import Nomination, Nominator, gumbel_noise
from nommer.nominations.intervention import intervene

OPTIONS = {
    "published": {},
    "average of 3, 4": {"compression": "average", "kept_coefficients": (3, 4)},
    "softmax of two": {"fusion": "softmax", "contexts": ("window", "global")},
    "sum": {"fusion": "sum"},
    "convolution": {"contexts": ("convolution",)},
}
each = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def step(model, images):
    """Scores, gradients and buffers of a seeded step of training."""
    torch.manual_seed(1)
    scores = model(images)
    scores.square().sum().backward()
    gradients = (torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters())
    return [scores.detach(), *gradients, *model.buffers()]


def assert_close(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        scale = other.abs().max().clamp_min(1)
        assert (one - other).abs().max() <= tolerance * scale


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("grid", [(9, 13), (7, 8), (1, 5), (16, 8)])
@pytest.mark.parametrize("k", [4, 8])
def test_multiplied_out_the_global_context_is_the_reference(
    reference, draw, enliven, grid, k, training
):
    module = SpectralContext(16, heads=2, transform=BlockTransform(k))
    module = enliven(module).train(training)
    module.__class__ = MultipliedSpectralContext
    weights = {name: buffer.clone() for name, buffer in module.named_buffers()}
    weights |= {n: p.detach().clone().requires_grad_() for n, p in module.named_parameters()}
    ours, theirs = (draw(2, *grid, 16).requires_grad_() for _ in range(2))
    out = module(ours)
    expected = reference.spectral_context(theirs, weights, heads=2, k=k, training=training)
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)
    for result in (out, expected):
        (result * draw(*out.shape, seed=1)).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-8)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-8, atol=1e-8)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("training", [False, True])
@each
def test_values_gradients_and_statistics_are_those_of_the_literal_form(
    draw, enliven, options, training
):
    sizes = {"embed_dim": 8, "num_heads": (1, 2, 2, 4), "num_classes": 5, "img_size": (35, 43)}
    stride = {"depths": (1, 2, 1, 1), "patch_size": 2, "window_size": 4, "block_sizes": (6, 5)}
    plain = enliven(NomMer(NomMerConfig(**sizes, **stride, **options))).train(training)
    faster = accelerate(copy.deepcopy(plain), "cuda")
    images = draw(2, 3, 35, 43)
    assert_close(step(faster, images), step(plain, images), 1e-10)


@pytest.mark.parametrize("size", [(64, 64), (97, 131)], ids=str)
@each
def test_a_step_in_float32_is_the_same_up_to_rounding(create, draw, options, size):
    plain = create(drop_path_rate=0.3, num_classes=5, **options).train()
    faster = accelerate(copy.deepcopy(plain), "cuda")
    images, noise = draw(2, 3, *size), gumbel_noise(draw(2, 40, 40, 3))
    for model in (plain, faster):
        for module in model.modules():
            if isinstance(module, Nomination):  # wide apart, so that rounding decides nothing
                module.noise = lambda logits: (
                    50 * noise[:, : logits.shape[1], : logits.shape[2], : logits.shape[3]]
                )
    assert_close(step(faster, images), step(plain, images), 1e-3)


def test_names_parameters_and_hooks_stay(create):
    model, called = create(), []
    parameters, keys = list(model.parameters()), list(model.state_dict())
    hooked = next(module for module in model.modules() if type(module) is SpectralContext)
    hooked.register_forward_hook(lambda *_: called.append(1))
    assert accelerate(model, "cuda") is model
    assert list(model.state_dict()) == keys
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    model(torch.zeros(1, 3, 32, 32))
    assert called == [1]


def test_every_kind_of_module_changes_and_changes_back(create):
    model = create()
    before = [type(module) for module in model.modules()]
    accelerate(accelerate(model, "cuda"))
    changed = {type(module) for module in model.modules()}
    assert not changed & FASTER.keys()
    assert changed >= set(FASTER.values())
    assert [type(module) for module in literal(model).modules()] == before


def test_on_a_cpu_the_global_context_stays_literal(create):
    changed = {type(module) for module in accelerate(create()).modules()}
    assert SpectralContext in changed
    assert OneDNNLinear in changed
    assert MultipliedSpectralContext not in changed


def test_only_a_nommer_changes(create):
    model = nn.Sequential(create(features_only=True), nn.Linear(3, 3))
    accelerate(model)
    assert type(model[1]) is nn.Linear
    assert any(isinstance(module, OneDNNLinear) for module in model[0].modules())
    peer = timm.create_model("test_vit")
    assert accelerate(peer) is peer
    assert not any(isinstance(module, OneDNNLinear) for module in peer.modules())


def test_recomputation_trains_the_same(create, draw):
    model = accelerate(create(drop_path_rate=0.3).train())
    results = []
    for checkpointing in (False, True):
        copied = copy.deepcopy(model)
        copied.set_grad_checkpointing(checkpointing)
        results.append(step(copied, draw(2, 3, 64, 64)))
    assert all(itertools.starmap(torch.equal, zip(*results, strict=True)))


@torch.no_grad()
def test_nominations_are_recorded_and_changed(create, draw):
    model, images = accelerate(create()), draw(2, 3, 64, 64)
    with NominationTrace(model) as trace, NominationTrace(literal(create())) as plain:
        model(images)
        create()(images)
    assert plain.blocks == trace.blocks
    with intervene(model, "window"), NominationTrace(model) as trace:
        model(images)
    assert all(share["window"] == 1 for share in trace.shares().values())


@torch.no_grad()
def test_fusing_an_accelerated_network_is_fusing_the_plain_one(create, draw):
    model, images = create(), draw(2, 3, 64, 96)
    expected = fuse(model)(images)
    fused = fuse(accelerate(model, "cuda"))
    assert torch.equal(fused(images), expected)
    assert not {type(module) for module in fused.modules()} & set(FASTER.values())
    assert any(isinstance(module, MultipliedSpectralContext) for module in model.modules())


@torch.no_grad()
def test_an_average_of_an_accelerated_network_loads_into_a_plain_one(create, draw):
    model, images = accelerate(create()), draw(2, 3, 64, 64)
    average = ModelEmaV3(model, decay=0.9)
    for parameter in model.parameters():
        parameter.mul_(1.01)
    average.update(model)
    plain = create()
    plain.load_state_dict(average.module.state_dict())
    assert_close([plain(images)], [average.module.eval()(images)], 1e-3)


@torch.no_grad()
@pytest.mark.usefixtures("unchecked")
def test_export_sees_torchs_own_operators(create, draw):
    model, images = accelerate(create(num_classes=10)), draw(2, 3, 97, 131)
    program = torch.export.export(model, (images,))
    assert all("mkldnn" not in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(images), model(images), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_is_one_graph(create, draw):
    torch.compiler.reset()
    model, images = accelerate(create(num_classes=10)), draw(2, 3, 97, 131)
    compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=False)
    torch.testing.assert_close(compiled(images), model(images), rtol=1e-4, atol=1e-5)
    torch.compiler.reset()


def test_multiplied_out_kernels_and_products_are_counted(create):
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        accelerate(timm.create_model("nommer_micro").eval())(torch.empty(1, 3, 224, 224))
    counts = {
        module.removeprefix("NomMer."): sum(ops.values()) / 2
        for module, ops in counter.get_flop_counts().items()
    }
    width, blocks, frequencies, pixels, groups = 16, 7 * 7, 4 * 4, 8 * 8, 8
    kernels = 2 * width * width // groups * frequencies * pixels
    squeezes = 2 * blocks * width * width // groups * pixels
    attention = blocks * (3 + 1) * width**2 + 2 * blocks**2 * width
    assert counts["stages.0.blocks.0.mixer.spectral"] == kernels + squeezes + attention


class _OnGpu(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True


@pytest.mark.parametrize("outputs", [3, 8, 10])
def test_padded_scores_are_the_scores(draw, monkeypatch, outputs):
    layer, x = nn.Linear(16, outputs), draw(2, 4, 5, 16)
    products, linear = [], nn.functional.linear
    monkeypatch.setattr(
        nn.functional, "linear", lambda x, w, b: products.append(len(w)) or linear(x, w, b)
    )
    expected = layer(x)
    found = padded_linear(layer, x.as_subclass(_OnGpu)).as_subclass(torch.Tensor)
    torch.testing.assert_close(found, expected)
    assert products == [outputs, -(-outputs // 8) * 8]
    monkeypatch.undo()
    assert torch.equal(padded_linear(layer, x), layer(x))


@torch.no_grad()
def test_the_padded_nominator_is_the_nominator(draw):
    plain = Nominator(16).eval()
    padded = copy.deepcopy(plain)
    padded.__class__ = PaddedNominator
    contexts = [draw(2, 4, 5, 16, seed=seed) for seed in range(3)]
    on_gpu = [context.as_subclass(_OnGpu) for context in contexts]
    assert torch.equal(padded(*contexts), plain(*contexts))
    torch.testing.assert_close(padded(*on_gpu).as_subclass(torch.Tensor), plain(*contexts))
