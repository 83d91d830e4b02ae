"""Recording what is nominated changes nothing, and what is recorded is what happened."""

import math

import pytest
import timm
import torch
from torch.utils._pytree import tree_leaves

from nommer import NominationTrace, NomMer
from nommer.acceleration.fuse import fuse
from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.variants import VARIANTS
from nommer.models.rcnn import RCNN
from nommer.nominations.intervention import intervene
from nommer.nominations.trace import nominator_blocks


@pytest.fixture
def images():
    return torch.rand(3, 3, 32, 40, generator=torch.Generator().manual_seed(0))


def hooks(model):
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


@pytest.mark.parametrize("training", [False, True])
def test_outputs_are_identical_inside_and_outside(tiny_classifier, images, training):
    model = tiny_classifier().train(training)
    torch.manual_seed(1)
    before = model(images)
    with NominationTrace(model, keep_maps=True):
        torch.manual_seed(1)
        inside = model(images)
    assert torch.equal(before, inside)
    assert hooks(model) == 0


def test_hooks_are_gone_after_an_exception(tiny_classifier, images):
    model = tiny_classifier()
    with NominationTrace(model):
        assert hooks(model) > 0
    assert hooks(model) == 0
    with pytest.raises(RuntimeError, match="expected input"), NominationTrace(model):
        model(images[:, :2])
    assert hooks(model) == 0


def test_blocks_are_named_by_stage_and_block(tiny_classifier):
    model = tiny_classifier()
    assert list(nominator_blocks(model)) == ["stage 1 block 1", "stage 2 block 1"]
    assert list(nominator_blocks(model.network)) == ["stage 1 block 1", "stage 2 block 1"]


def test_maps_counts_and_shares_agree(tiny_classifier, images):
    model = tiny_classifier()
    with NominationTrace(model, keep_maps=True) as trace:
        model(images[:2])
        model(images[2:])
    for row, (block, size) in enumerate(
        {"stage 1 block 1": (16, 20), "stage 2 block 1": (8, 10)}.items()
    ):
        maps = trace.maps(block)
        assert maps.shape == (3, *size)
        counts = torch.bincount(maps.flatten().long(), minlength=3)
        assert trace.counts()[row].tolist() == counts.tolist()
        shares = trace.shares()[block]
        assert list(shares) == list(CONTEXTS)
        assert sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == pytest.approx((counts / counts.sum()).tolist())
        probabilities = trace.probabilities(block)
        assert torch.allclose(probabilities.sum(-1), torch.ones(3, *size), atol=1e-5)
        assert torch.equal(probabilities.argmax(-1), maps.long()), (
            "without noise the most probable is nominated"
        )


@pytest.mark.parametrize("context", range(3))
def test_a_forced_context_has_all_of_the_shares(tiny_classifier, images, context):
    model = tiny_classifier()
    for module in nominator_blocks(model).values():
        module.register_forward_pre_hook(
            lambda _module, inputs: (
                torch.zeros_like(inputs[0]).index_fill(-1, torch.tensor([context]), 1.0),
            )
        )
    with NominationTrace(model, keep_maps=True) as trace:
        model(images)
    for block, shares in trace.shares().items():
        assert shares == {name: float(index == context) for index, name in enumerate(CONTEXTS)}
        assert (trace.maps(block) == context).all()


def test_an_unused_trace_has_counted_nothing(tiny_classifier):
    with NominationTrace(tiny_classifier()) as trace:
        pass
    assert trace.counts().tolist() == [[0, 0, 0], [0, 0, 0]]
    assert set(trace.shares()["stage 1 block 1"].values()) == {0.0}


# ---- statistics


def test_statistics_are_the_means_over_all_tokens(tiny_classifier, images):
    model = tiny_classifier()
    with NominationTrace(model, keep_maps=True, keep_norms=True) as trace:
        model(images[:2])
        model(images[2:])
    for block, found in trace.statistics().items():
        probabilities = trace.probabilities(block).double().flatten(0, 2)
        ordered = probabilities.sort(-1, descending=True).values
        entropy = -(probabilities * probabilities.log()).sum(-1) / math.log(3)
        assert found.tokens == len(probabilities)
        assert found.shares == pytest.approx(trace.shares()[block])
        assert list(found.probabilities.values()) == pytest.approx(
            probabilities.mean(0).tolist(), abs=1e-6
        )
        assert found.margin == pytest.approx(
            (ordered[:, 0] - ordered[:, 1]).mean().item(), abs=1e-6
        )
        assert found.entropy == pytest.approx(entropy.mean().item(), abs=1e-6)
        assert list(found.norms) == list(CONTEXTS)


@pytest.mark.parametrize("prepare", [lambda model: model, fuse], ids=["plain", "fused"])
def test_norms_are_those_of_the_contexts(tiny_classifier, enliven_norms, images, prepare):
    model = prepare(enliven_norms(tiny_classifier()))
    mixer, seen = model.network.stages[1].blocks[0].mixer, {}
    for name in ("convolution", "window", "spectral"):
        context = getattr(mixer, name)
        context.register_forward_hook(
            lambda _m, _i, out, name=name: seen.update({name: out.norm(dim=-1).mean()})
        )
    with NominationTrace(model, keep_norms=True) as trace:
        model(images)
    found = trace.statistics()["stage 2 block 1"].norms
    assert list(found.values()) == pytest.approx([norm.item() for norm in seen.values()])


@pytest.mark.parametrize(("scale", "margin", "entropy"), [(0.0, 0.0, 1.0), (1e4, 1.0, 0.0)])
def test_an_open_contest_has_all_the_entropy_and_a_sure_one_all_the_margin(
    tiny_classifier, images, scale, margin, entropy
):
    model = tiny_classifier()
    for module in nominator_blocks(model).values():
        module.register_forward_pre_hook(
            lambda _m, inputs: (torch.tensor([0.0, 1, 2]).expand_as(inputs[0]) * scale,)
        )
    with NominationTrace(model) as trace:
        model(images)
    for found in trace.statistics().values():
        assert (found.margin, found.entropy) == pytest.approx((margin, entropy), abs=1e-6)
        assert found.norms is None


def test_without_maps_memory_does_not_grow(tiny_classifier, images):
    model = tiny_classifier()
    with NominationTrace(model, keep_norms=True) as trace:
        sizes = []
        for _ in range(3):
            model(images)
            held = [leaf for leaf in tree_leaves(vars(trace)) if isinstance(leaf, torch.Tensor)]
            sizes.append((len(held), sum(tensor.untyped_storage().nbytes() for tensor in held)))
    assert sizes == [sizes[0]] * 3
    assert sizes[0][1] < 500


def test_contexts_weighed_alike_share_every_token(tiny_classifier, images):
    model = tiny_classifier()
    with intervene(model, "mean"), NominationTrace(model) as trace:
        model(images)
    assert trace.shares()["stage 1 block 1"] == pytest.approx(dict.fromkeys(CONTEXTS, 1 / 3))


# ---- every model


@pytest.fixture
def build(tiny_classifier, tiny_segmenter):
    """Any model with a micro NomMer in it, and what goes into it."""

    def detector(images):
        torch.manual_seed(0)
        network = RCNN(
            NomMer(VARIANTS["nommer_micro"]),
            num_classes=2,
            masks=True,
            fpn_channels=8,
            box_channels=16,
        )
        torch.nn.init.normal_(network.roi_heads.stages[0].predictor.cls_score.weight)
        return network.eval(), list(images)

    def build(kind, images):
        torch.manual_seed(0)
        if kind == "detector":
            return detector(images)
        if kind == "features":
            return timm.create_model("nommer_micro", features_only=True).eval(), images
        if kind == "segmenter":
            return tiny_segmenter(), images
        return (fuse(tiny_classifier()) if kind == "fused" else tiny_classifier()), images

    return build


@pytest.mark.parametrize("kind", ["classifier", "segmenter", "detector", "features", "fused"])
@torch.no_grad()
def test_every_model_can_be_traced(build, images, kind):
    model, inputs = build(kind, images)
    before = tree_leaves(model(inputs))
    with NominationTrace(model, keep_maps=True, keep_norms=True) as trace:
        inside = tree_leaves(model(inputs))
    assert len(before) == len(inside) > 0
    assert all(map(torch.equal, before, inside))
    assert hooks(model) == 0
    assert trace.blocks == ["stage 1 block 1", "stage 2 block 1"]
    for block, found in trace.statistics().items():
        assert found.tokens == trace.maps(block).numel() > 0
        assert min(found.norms.values()) > 0
    with intervene(model, "global"), NominationTrace(model) as forced:
        model(inputs)
    assert {tuple(shares.values()) for shares in forced.shares().values()} == {(0.0, 0.0, 1.0)}
    assert all(map(torch.equal, before, tree_leaves(model(inputs))))


@pytest.mark.usefixtures("unchecked")
@torch.no_grad()
def test_a_compiled_model_is_traced_whether_it_ran_before_or_not(tiny_classifier, images):
    torch.compiler.reset()
    model = tiny_classifier()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with NominationTrace(model, keep_norms=True) as plain:
        expected = model(images)
    for _ in range(2):  # before it ran, and after
        with NominationTrace(compiled, keep_norms=True) as trace:
            assert torch.equal(compiled(images), expected)
        assert trace.blocks == plain.blocks
        assert trace.statistics() == plain.statistics()
        assert hooks(model) == 0
        torch.testing.assert_close(compiled(images), expected)
    with intervene(compiled, "global"), NominationTrace(compiled) as trace:
        compiled(images)
    assert {tuple(shares.values()) for shares in trace.shares().values()} == {(0.0, 0.0, 1.0)}
    torch.compiler.reset()


@pytest.mark.usefixtures("unchecked")
@torch.no_grad()
def test_a_model_compiled_in_place_is_traced_too(tiny_classifier, images):
    torch.compiler.reset()
    model = tiny_classifier()
    expected = model(images)
    model.compile(backend="eager", fullgraph=True)
    model(images)
    with NominationTrace(model) as trace:
        assert torch.equal(model(images), expected)
    assert trace.statistics()["stage 1 block 1"].tokens == 3 * 16 * 20
    torch.compiler.reset()
