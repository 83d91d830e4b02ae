"""Ablations of the paper: configurations of the same modules, each against its literal form.

The default untouched.
"""

import copy
import json
import math
from dataclasses import asdict, replace

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nommer import NominationTrace
from nommer.acceleration.fuse import fuse
from nommer.backbone.ablations import TRANSFORMS, AblatedContext, BlockAverage, Mixture
from nommer.backbone.config import NomMerConfig
from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.network import NomMer
from nommer.backbone.nominator import NominatedContext, Nomination, gumbel_noise
from nommer.backbone.variants import VARIANTS
from nommer.nominations.intervention import intervene
from nommer.nominations.trace import holds_nominations

ABLATIONS = {
    "published": {},
    "convolution": {"contexts": ("convolution",)},
    "window": {"contexts": ("window",)},
    "global": {"contexts": ("global",)},
    "convolution, window": {"contexts": ("convolution", "window")},
    "convolution, global": {"contexts": ("convolution", "global")},
    "window, global": {"contexts": ("window", "global")},
    "softmax": {"fusion": "softmax"},
    "sum": {"fusion": "sum"},
    "sum of two": {"fusion": "sum", "contexts": ("window", "global")},
    "softmax of two": {"fusion": "softmax", "contexts": ("window", "global")},
    "average": {"compression": "average"},
    "r 2, 1": {"kept_coefficients": (2, 1)},
    "average of 3, 4": {"compression": "average", "kept_coefficients": (3, 4)},
}
NOMINATOR_WEIGHTS, LAST_WEIGHTS, NEXT_DRAWN = (
    [-0.01236, 0.014316, -0.012821],
    [-9.2e-05, 0.025663, 0.004681],
    0.974131,
)
"""Draws of seed 0 for nommer_micro, the same as ever."""

each = pytest.mark.parametrize("ablation", ABLATIONS)


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


# ---- the literal forms


def assert_same_gradients(module, expected, images):
    weights = {name: buffer.clone() for name, buffer in module.named_buffers()}
    weights |= {
        name: parameter.detach().clone().requires_grad_()
        for name, parameter in module.named_parameters()
    }
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    out, reference = module(ours), expected(theirs, weights)
    torch.testing.assert_close(out, reference, rtol=1e-9, atol=1e-9)
    out.square().sum().backward()
    reference.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-8)
    for name, parameter in module.named_parameters():
        found, wanted = (
            torch.zeros_like(p) if p.grad is None else p.grad for p in (parameter, weights[name])
        )
        torch.testing.assert_close(
            found, wanted, rtol=1e-8, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("training", [False, True])
@each
def test_every_ablation_is_its_literal_form(reference, draw, enliven, ablation, training):
    config = NomMerConfig(
        **{
            "embed_dim": 8,
            "depths": (1, 2, 1, 1),
            "num_heads": (1, 2, 2, 4),
            "num_classes": 5,
            "img_size": (35, 43),
        },
        **{"patch_size": 2, "window_size": 4, "block_sizes": (6, 5)} | ABLATIONS[ablation],
    )
    module, noises = enliven(NomMer(config)).train(training), []
    for nomination in (part for part in module.modules() if isinstance(part, Nomination)):
        nomination.noise = lambda logits: noises.append(gumbel_noise(logits)) or noises[-1]

    def expected(x, weights):
        sizes = {
            "heads": config.num_heads,
            "side": 4,
            "block_sizes": (6, 5),
            "depths": config.depths,
            "stride": 2,
        }
        options = {
            "contexts": config.contexts,
            "fusion": config.fusion,
            "compression": config.compression,
        }
        return reference.network(
            x, weights, noises=noises, training=training, kept=config.kept, **sizes, **options
        )

    assert_same_gradients(module, expected, draw(2, 3, 35, 43))


# ---- compression


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("size", "kept"), [(8, 4), (4, 2), (4, 4), (6, 2), (8, 1)])
def test_average_pooling_is_average_pooling(draw, size, kept):
    transform, grid = (
        BlockAverage(size, kept=kept),
        draw(2, 2 * size, 3 * size, 3),
    )
    cell = size // kept
    pooled = F.avg_pool2d(grid.permute(0, 3, 1, 2), cell)
    back = transform.inverse(transform(grid)).permute(0, 3, 1, 2)
    torch.testing.assert_close(back, F.interpolate(pooled, scale_factor=cell, mode="nearest"))
    own = (
        transform(grid).unflatten(-1, (3, kept, kept)) / cell
    )  # (B, blocks, blocks, channels, v, u)
    torch.testing.assert_close(own.permute(0, 3, 1, 4, 2, 5).reshape(pooled.shape), pooled)


@pytest.mark.parametrize("compression", TRANSFORMS)
@pytest.mark.parametrize(("size", "kept"), [(1, 1), (4, 2), (5, 3), (7, 2), (8, 8)])
def test_both_compressions_have_orthonormal_bases_of_the_same_shape(compression, size, kept):
    basis = TRANSFORMS[compression](size, kept=kept).make_basis()
    assert basis.shape == (kept**2, size**2)
    torch.testing.assert_close(basis @ basis.T, torch.eye(kept**2, dtype=torch.float64))


def test_one_coefficient_is_the_mean_either_way():
    one, other = (transform(8, kept=1).make_basis() for transform in TRANSFORMS.values())
    torch.testing.assert_close(one, other)


def test_as_many_coefficients_as_tokens_lose_nothing(draw):
    grid = draw(2, 8, 12, 3)
    for transform in TRANSFORMS.values():
        lossless = transform(4, kept=4)
        torch.testing.assert_close(lossless.inverse(lossless(grid)), grid)


# ---- the same classes, no more parameters than needed


def test_the_default_is_the_published_network():
    torch.manual_seed(0)
    published = NomMer(VARIANTS["nommer_micro"])
    torch.manual_seed(0)
    spelled = NomMer(
        replace(
            VARIANTS["nommer_micro"],
            contexts=["global", "window", "convolution"],
            fusion="nomination",
            compression="dct",
            kept_coefficients=[4, 2],
        )
    )
    assert spelled.config == published.config == VARIANTS["nommer_micro"]
    assert list(spelled.state_dict()) == list(published.state_dict())
    assert all(map(torch.equal, spelled.parameters(), published.parameters()))


def test_initial_weights_of_the_published_network_are_drawn_in_the_same_order_as_ever():
    torch.manual_seed(0)
    model = NomMer(VARIANTS["nommer_micro"])
    nominator = model.stages[0].blocks[0].mixer.nominator.score.weight[0, :3].tolist()
    last = model.head.weight[-1, -3:].tolist()
    assert nominator == pytest.approx(NOMINATOR_WEIGHTS, abs=1e-6)
    assert last == pytest.approx(LAST_WEIGHTS, abs=1e-6)
    assert torch.rand(1).item() == pytest.approx(NEXT_DRAWN, abs=1e-6)


def test_parameters_are_those_of_the_contexts_that_are_left(create):
    whole = create(**ABLATIONS["published"])
    mixers = [stage.blocks[0].mixer for stage in whole.stages[:2]]
    every = {
        name: sum(parameters(getattr(mixer, module)) for mixer in mixers)
        for name, module in {
            "convolution": "convolution",
            "window": "window",
            "global": "spectral",
        }.items()
    }
    nominators = {
        count: sum(count * (mixer.nominator.score.in_features + 1) for mixer in mixers)
        for count in (2, 3)
    }
    rest = parameters(whole) - sum(every.values()) - nominators[3]
    for name, options in ABLATIONS.items():
        contexts = options.get("contexts", CONTEXTS)
        scores = (
            0 if len(contexts) == 1 or options.get("fusion") == "sum" else nominators[len(contexts)]
        )
        if "kept_coefficients" not in options:
            assert parameters(create(**options)) == rest + scores + sum(
                every[context] for context in contexts
            ), name
    assert parameters(create(kept_coefficients=(2, 1))) < parameters(whole)


def test_average_pooling_costs_what_the_dct_costs_and_fewer_coefficients_less():
    def cost(**options):
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            timm.create_model("nommer_micro", **options).eval()(torch.empty(1, 3, 224, 224))
        return counter.get_total_flops()

    assert cost(compression="average") == cost()
    assert cost(kept_coefficients=(2, 1)) < cost() < cost(kept_coefficients=(8, 4))
    assert cost(fusion="softmax") == cost() > cost(fusion="sum")
    assert all(cost(contexts=[context]) < cost() for context in CONTEXTS)


def test_a_single_context_has_no_nominator_and_no_scores(create, draw):
    model, images = create(contexts=["window"]), draw(1, 3, 64, 64)
    assert not [name for name, _ in model.named_parameters() if "nominator" in name]
    mixer = model.stages[0].blocks[0].mixer
    grid = draw(1, 8, 8, 16)
    assert torch.equal(mixer(grid), mixer.window(grid))
    assert not holds_nominations(model)
    with pytest.raises(
        ValueError,
        match="nothing nominates in this NomMer: its network has a single context, or sums",
    ):
        NominationTrace(model)
    with (
        pytest.raises(ValueError, match="nothing nominates in this NomMer"),
        intervene(create(fusion="sum"), "mean"),
    ):
        model(images)


def test_every_mixer_is_the_published_one_or_its_one_subclass(create):
    for name, options in ABLATIONS.items():
        mixers = [stage.blocks[0].mixer for stage in create(**options).stages[:2]]
        expected = NominatedContext if name == "published" else AblatedContext
        assert {type(mixer) for mixer in mixers} == {expected}
    assert issubclass(AblatedContext, NominatedContext)


def test_an_ablation_is_computed_as_the_published_block_where_it_ablates_nothing(create, draw):
    mixer, grid = create().stages[0].blocks[0].mixer, draw(2, 9, 13, 16)
    every = {name: getattr(mixer, name) for name in ("convolution", "window", "spectral")}
    spelled = AblatedContext(every, mixer.nominator).eval()
    assert list(spelled.state_dict()) == list(mixer.state_dict())
    assert torch.equal(spelled(grid), mixer(grid))


# ---- everything a network can do, each ablation can


@each
def test_trains_every_parameter(create, draw, ablation):
    model = create(**ABLATIONS[ablation]).train()
    model(draw(2, 3, 97, 131)).square().sum().backward()
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()
    ] == []


@each
def test_recomputation_trains_the_same(create, draw, ablation):
    model = create(drop_path_rate=0.3, **ABLATIONS[ablation]).train()
    gradients = []
    for checkpointing in (False, True):
        copied = copy.deepcopy(model)
        copied.set_grad_checkpointing(checkpointing)
        torch.manual_seed(0)
        copied(draw(2, 3, 64, 64)).square().sum().backward()
        gradients.append([parameter.grad for parameter in copied.parameters()])
    assert all(map(torch.equal, *gradients))


@each
@torch.no_grad()
def test_fused_gives_the_same_scores(create, draw, ablation):
    model, images = create(**ABLATIONS[ablation]).double(), draw(2, 3, 97, 131, dtype=torch.float64)
    expected, fused = model(images), fuse(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert (fused(images) - expected).abs().max() < 1e-10 * expected.abs().max()


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("ablation", ["window", "softmax", "average of 3, 4"])
@torch.no_grad()
def test_is_one_graph(create, draw, ablation):
    torch.compiler.reset()
    model, images = create(num_classes=10, **ABLATIONS[ablation]), draw(2, 3, 97, 131)
    expected = model(images)
    compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=False)
    torch.testing.assert_close(compiled(images), expected, rtol=1e-4, atol=1e-5)
    torch.compiler.reset()


@each
def test_a_description_and_a_state_dict_make_the_same_network(create, draw, ablation):
    model, images = create(**ABLATIONS[ablation]), draw(1, 3, 64, 64)
    again = NomMer(NomMerConfig(**json.loads(json.dumps(asdict(model.config))))).eval()
    assert again.config == model.config
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(images), model(images))


def test_timm_builds_ablations_as_features_too(draw):
    model = timm.create_model(
        "nommer_nano", fusion="sum", contexts=["convolution", "global"], features_only=True
    )
    assert [tuple(map_.shape) for map_ in model.eval()(draw(1, 3, 64, 64))][:2] == [
        (1, 48, 16, 16),
        (1, 96, 8, 8),
    ]


# ---- what is recorded of them


def test_a_mixture_draws_no_noise_and_is_the_same_in_training(draw):
    logits, mixture = draw(2, 4, 5, 3), Mixture()
    before = torch.get_rng_state()
    weights = mixture.train()(logits)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weights, mixture.eval()(logits))
    torch.testing.assert_close(weights, logits.softmax(-1))
    assert mixture(torch.full((1, 1, 1, 3), torch.inf, dtype=torch.float16)).isfinite().all()


@torch.no_grad()
def test_of_a_mixture_the_largest_weight_counts(create, draw):
    model, images = create(fusion="softmax"), draw(2, 3, 64, 64)
    with NominationTrace(model, keep_maps=True) as trace:
        model(images)
    for row, name in enumerate(trace.blocks):
        best = trace.probabilities(name).argmax(-1)
        assert torch.equal(trace.maps(name).long(), best)
        assert trace.counts()[row].tolist() == torch.bincount(best.flatten(), minlength=3).tolist()


@pytest.mark.parametrize(
    "contexts", [("window", "global"), ("convolution", "global"), ("convolution", "window")]
)
@pytest.mark.parametrize("prepare", [lambda model: model, fuse], ids=["plain", "fused"])
@torch.no_grad()
def test_of_two_contexts_everything_keeps_its_name(create, draw, contexts, prepare):
    model, images = prepare(create(contexts=contexts)), draw(2, 3, 64, 64)
    (absent,) = set(CONTEXTS) - set(contexts)
    with NominationTrace(model, keep_maps=True, keep_norms=True) as trace:
        model(images)
    for name, found in trace.statistics().items():
        values = [trace.shares()[name], found.shares, found.probabilities, found.norms]
        assert [value[absent] for value in values] == [0.0] * 4
        assert sum(found.shares.values()) == pytest.approx(1)
        assert set(trace.maps(name).unique().tolist()) <= {
            CONTEXTS.index(context) for context in contexts
        }
        assert trace.probabilities(name).shape[-1] == 3
        likely = trace.probabilities(name)
        in_bits = torch.special.entr(likely).sum(-1).mean().item() / math.log(2)
        assert found.entropy == pytest.approx(in_bits, abs=1e-6)
    for context in contexts:
        with intervene(model, context), NominationTrace(model, keep_maps=True) as trace:
            model(images)
        assert (trace.maps("stage 1 block 1") == CONTEXTS.index(context)).all()
        assert trace.shares()["stage 2 block 1"][context] == 1
    with intervene(model, "mean"), NominationTrace(model) as trace:
        model(images)
    assert trace.shares()["stage 1 block 1"] == pytest.approx(
        {**dict.fromkeys(contexts, 0.5), absent: 0}
    )
    message = f"stage 1 block 1 has no {absent} context, only {contexts[0]}, {contexts[1]}"
    with pytest.raises(ValueError, match=message), intervene(model, absent):
        model(images)
