"""Gradient checkpointing changes what is kept in memory and nothing else, batch norm statistics
included.
"""

import copy

import pytest
import torch

from nommer.backbone.block import Block


def train_step(model, images, recorder, *, checkpointing, autocast=False):
    """Outputs, gradients, nominations and state after a seeded step, noise and drop path on."""
    model.set_grad_checkpointing(checkpointing)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        scores = model(images)
    nominations = list(recorder.weights)
    scores.float().square().mean().backward()
    return scores, [p.grad for p in model.parameters()], nominations, model.state_dict()


NAMES = [
    "nommer_micro",
    "nommer_nano",
    "nommer_tiny",
    pytest.param("nommer_base", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_is_the_same(create, record, draw, name, autocast):
    plain = create(name, num_classes=5, drop_path_rate=0.3, drop_rate=0.1).train()
    recomputing = copy.deepcopy(plain)
    images = draw(2, 3, 64, 96)
    (scores, gradients, nominations, state), (scores2, gradients2, nominations2, state2) = (
        train_step(model, images, record(model), checkpointing=checkpointing, autocast=autocast)
        for model, checkpointing in ((plain, False), (recomputing, True))
    )
    assert torch.equal(scores, scores2)
    assert len(nominations) == len(nominations2) > 0
    assert all(map(torch.equal, nominations, nominations2))
    assert all(map(torch.equal, gradients, gradients2))
    assert state.keys() == state2.keys()
    assert all(torch.equal(value, state2[key]) for key, value in state.items())
    assert int(state["stages.0.blocks.0.mixer.convolution.norm1.num_batches_tracked"]) == 1


def test_recomputation_nominates_the_same_contexts(create, record, draw):
    model = create(drop_path_rate=0.3).train()
    recorder = record(model)
    model.set_grad_checkpointing()
    model(draw(2, 3, 64, 64)).square().mean().backward()
    first, second, again_second, again_first = (
        recorder.weights
    )  # recomputed from the last block to the first
    assert torch.equal(first, again_first)
    assert torch.equal(second, again_second)


def calls_of_blocks(model, images, *, backward):
    counts = []
    handles = [
        m.register_forward_pre_hook(lambda *_: counts.append(1))
        for m in model.modules()
        if isinstance(m, Block)
    ]
    scores = model(images)
    if backward:
        scores.sum().backward()
    for handle in handles:
        handle.remove()
    return len(counts)


def test_only_training_with_gradients_recomputes(create, draw):
    model, images = create(), draw(2, 3, 64, 64)
    assert calls_of_blocks(model.train(), images, backward=True) == 4
    model.set_grad_checkpointing(enable=True)
    assert calls_of_blocks(model.train(), images, backward=True) == 8
    assert calls_of_blocks(model.eval(), images, backward=True) == 4
    with torch.no_grad():
        assert calls_of_blocks(model.train(), images, backward=False) == 4
    model.set_grad_checkpointing(enable=False)
    assert calls_of_blocks(model.train(), images, backward=True) == 4


def test_fewer_activations_are_kept(create, draw):
    images, kept = draw(2, 3, 64, 64), []
    for checkpointing in (False, True):
        model = create().train()
        model.set_grad_checkpointing(checkpointing)
        sizes = {}

        def keep(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            scores = model(images)
        kept.append(sum(sizes.values()))
        assert scores.requires_grad
    assert kept[1] < kept[0] / 2


def test_synchronised_batch_norms_can_be_recomputed(create, draw):
    model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(create()).train()
    model.set_grad_checkpointing()
    model(draw(2, 3, 64, 64)).sum().backward()
    assert int(model.stages[0].blocks[0].mixer.convolution.norm1.num_batches_tracked) == 1


def test_batch_statistics_count_again_after_a_recomputation_that_failed(create, draw):
    model = create().train()
    model.set_grad_checkpointing()
    scores = model(draw(2, 3, 64, 64))
    block = model.stages[0].blocks[0]
    handle = block.mixer.spectral.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        scores.sum().backward()
    handle.remove()
    norm = block.mixer.convolution.norm1
    assert norm.momentum == 0.1
    assert int(norm.num_batches_tracked) == 1
    mean = norm.running_mean.clone()
    model(draw(2, 3, 64, 64, seed=1)).sum().backward()
    assert int(norm.num_batches_tracked) == 2
    assert not torch.equal(norm.running_mean, mean)
