"""Recording what is nominated changes nothing, and what is recorded is what happened."""

import pytest
import torch

from nommer import NominationTrace
from nommer.backbone.contexts import CONTEXTS
from nommer.nominations.trace import nominator_blocks


@pytest.fixture
def images():
    return torch.rand(3, 3, 32, 40, generator=torch.Generator().manual_seed(0))


def hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


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
    for row, (block, size) in enumerate({"stage 1 block 1": (16, 20), "stage 2 block 1": (8, 10)}.items()):
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
        assert torch.equal(probabilities.argmax(-1), maps.long()), "without noise the most probable is nominated"


@pytest.mark.parametrize("context", range(3))
def test_a_forced_context_has_all_of_the_shares(tiny_classifier, images, context):
    model = tiny_classifier()
    for module in nominator_blocks(model).values():
        module.register_forward_pre_hook(
            lambda _module, inputs: (torch.zeros_like(inputs[0]).index_fill(-1, torch.tensor([context]), 1.0),)
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
