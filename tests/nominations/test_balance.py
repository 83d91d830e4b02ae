"""Training aids that keep all contexts in use."""

import math

import pytest
import torch

from nommer import InputError
from nommer.backbone.network import NomMer
from nommer.backbone.nominator import NominatedContext, Nominator
from nommer.backbone.variants import VARIANTS
from nommer.nominations.balance import (
    balance_loss,
    draw_nominators,
    equalise_contexts,
    recorded_scores,
)
from nommer.settings.network import NetworkOptions
from nommer.tasks.networks import resolve_network

FAR = 60.0


def scores(*shares):
    """Return scores of 100 tokens, surely choosing the contexts by these shares."""
    chosen = torch.repeat_interleave(torch.arange(3), torch.tensor(shares))
    return FAR * torch.nn.functional.one_hot(chosen, 3).float()[None, None]


def test_balance_is_0_where_all_contexts_are_equally_often_chosen_and_1_where_one_is():
    assert balance_loss([scores(50, 50, 50)], balance=1.0, decided=0.0).item() == pytest.approx(0)
    assert balance_loss([scores(90, 0, 0)], balance=1.0, decided=0.0).item() == pytest.approx(1)
    two = 1 - math.log(2) / math.log(3)
    assert balance_loss([scores(50, 50, 0)], balance=0.5, decided=0.0).item() == pytest.approx(
        two / 2
    )


def test_decided_is_0_where_every_token_is_sure_and_1_where_none_is():
    assert balance_loss([scores(50, 1, 3)], balance=0.0, decided=1.0).item() == pytest.approx(0)
    open_choices = torch.zeros(2, 4, 4, 3)
    assert balance_loss([open_choices], balance=0.0, decided=2.0).item() == pytest.approx(2)
    assert balance_loss([open_choices], balance=1.0, decided=0.0).item() == pytest.approx(
        0, abs=1e-6
    )


def test_with_places_contexts_that_are_dealt_out_by_place_are_out_of_balance():
    by_place = scores(50, 50, 50).expand(4, -1, -1, -1)  # the same in every image
    assert balance_loss([by_place], balance=1.0, decided=0.0).item() == pytest.approx(0)
    loss = balance_loss([by_place], balance=1.0, decided=0.0, places=True)
    assert loss.item() == pytest.approx(1)
    by_image = scores(1, 1, 1).view(3, 1, 1, 3).expand(-1, 5, 5, -1)
    loss = balance_loss([by_image], balance=1.0, decided=1.0, places=True)
    assert loss.item() == pytest.approx(0)


def test_of_several_blocks_it_is_the_mean():
    both = [scores(90, 0, 0), scores(30, 30, 30)]
    assert balance_loss(both, balance=1.0, decided=0.0).item() == pytest.approx(0.5)


def test_the_gradient_moves_a_collapsed_nominator_towards_the_others():
    logits = torch.tensor([2.0, 0.0, 0.0]).repeat(1, 3, 3, 1).requires_grad_()
    balance_loss([logits], balance=1.0, decided=0.0).backward()
    assert (logits.grad[..., 0] > 0).all()
    assert (logits.grad[..., 1:] < 0).all()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return NomMer(VARIANTS["nommer_micro"])


@pytest.mark.parametrize("recomputed", [False, True])
def test_the_loss_of_a_forward_pass_reaches_every_nominator_and_leaves_no_hooks(
    network, recomputed
):
    network.set_grad_checkpointing(recomputed)
    images = torch.randn(2, 3, 32, 32)
    with recorded_scores(network.train()) as scores:
        out = network(images)
    (out.sum() * 0 + balance_loss(scores, balance=1.0, decided=1.0)).backward()
    mixers = [module for module in network.modules() if isinstance(module, NominatedContext)]
    assert all(mixer.nominator.score.weight.grad.abs().sum() > 0 for mixer in mixers)
    assert len(scores) == len(mixers)
    assert not any(mixer.nominator.nomination._forward_pre_hooks for mixer in mixers)


def test_nominators_drawn_anew_are_unsure_again(network):
    for module in network.modules():
        if isinstance(module, Nominator):
            module.score.bias.data = torch.tensor([15.0, 0.0, 0.0])
    draw_nominators(network, 32)
    with recorded_scores(network) as scores:
        network(torch.randn(2, 3, 32, 32))
    assert max(logits.abs().max().item() for logits in scores) < 5


def test_equal_contexts_have_outputs_of_one_size_and_change_nothing_else(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    equalise_contexts(network, 32)
    assert torch.equal(random, torch.get_rng_state())
    changed = {n for n, value in network.state_dict().items() if not torch.equal(value, before[n])}
    assert all(
        n.endswith(("window.attention.proj.weight", "spectral.expand.weight")) for n in changed
    )
    sizes = []
    for mixer in (m for m in network.modules() if isinstance(m, NominatedContext)):
        for context in (mixer.convolution, mixer.window, mixer.spectral):
            context.register_forward_hook(lambda _, __, grid: sizes.append(grid.std().item()))
    network.train()(torch.randn(8, 3, 32, 32))
    for convolution, window, spectral in zip(sizes[::3], sizes[1::3], sizes[2::3], strict=True):
        assert window == pytest.approx(convolution, rel=0.3)
        assert spectral == pytest.approx(convolution, rel=0.3)


def test_values_out_of_range_and_options_without_effect_are_refused():
    with pytest.raises(InputError, match=r"--network.balance must be 0 or more, got -1"):
        NetworkOptions(balance=-1.0)
    with pytest.raises(InputError, match="leave them out"):
        resolve_network(NetworkOptions(balance=0.1, fusion="sum"), "nommer_micro", 64)
    with pytest.raises(InputError, match="leave them out"):
        resolve_network(
            NetworkOptions(equal_contexts=True, contexts=("convolution", "window")),
            "nommer_micro",
            64,
        )
