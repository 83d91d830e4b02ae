"""Temperature and noise of the nomination over a training, and the options that say so."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nommer import InputError
from nommer.backbone.nominator import Nomination
from nommer.settings.network import NetworkOptions
from nommer.tasks.networks import build_network, resolve_network
from nommer.training.annealing import Annealing


def at_step(cooling, step, steps=11):
    nominations = nn.ModuleList([Nomination(), Nomination()])
    trainer = SimpleNamespace(global_step=step, estimated_stepping_batches=steps)
    cooling.on_train_batch_start(trainer, nominations, None, 0)
    assert len({(n.temperature.item(), n.noise_scale.item()) for n in nominations}) == 1
    return nominations[0].temperature.item(), nominations[0].noise_scale.item()


def test_goes_from_start_to_end_in_a_straight_line_by_the_step_alone():
    cooling = Annealing(NetworkOptions(temperature=(2.0, 0.5), noise=(1.0, 0.0)))
    assert at_step(cooling, 10) == pytest.approx((0.5, 0.0))
    assert at_step(cooling, 0) == pytest.approx((2.0, 1.0))
    assert at_step(cooling, 5) == pytest.approx((1.25, 0.5))
    assert at_step(cooling, 0, steps=1) == pytest.approx((2.0, 1.0))


def test_without_noise_training_nominates_as_inference_does():
    logits = torch.randn(2, 5, 5, 3)
    nomination = Nomination().train()
    nomination.noise_scale.fill_(0)
    assert torch.equal(nomination(logits), nomination.eval()(logits))


def test_the_temperature_changes_the_gradient_and_not_what_is_nominated():
    logits, noise = torch.randn(2, 5, 5, 3, requires_grad=True), torch.randn(2, 5, 5, 3)
    found = {}
    for temperature in (1.0, 0.25):
        nomination = Nomination().train()
        nomination.noise = lambda _: noise
        nomination.temperature.fill_(temperature)
        weights = nomination(logits)
        (gradient,) = torch.autograd.grad((weights * torch.arange(3)).sum(), logits)
        soft = ((logits + noise) / temperature).softmax(-1)
        (expected,) = torch.autograd.grad((soft * torch.arange(3)).sum(), logits)
        torch.testing.assert_close(gradient, expected)
        found[temperature] = weights.detach(), gradient
    assert torch.equal(found[1.0][0], found[0.25][0])
    assert not torch.allclose(found[1.0][1], found[0.25][1])


def test_a_state_dict_knows_nothing_of_it():
    assert not Nomination().state_dict()


def test_the_position_embedding_is_drawn_with_the_deviation_asked_for():
    deviations = {}
    for scale in (1.0, 0.02):
        torch.manual_seed(0)
        options = resolve_network(NetworkOptions(position_scale=scale), "nommer_micro", 224)
        settings = SimpleNamespace(model="nommer_micro", network=options, image_size=224)
        network = build_network(settings, num_classes=3)
        deviations[scale] = network.stages[2].pos_embed
    assert deviations[1.0].std().item() == pytest.approx(1, abs=0.05)
    assert torch.allclose(deviations[0.02], 0.02 * deviations[1.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"temperature": (1.0, 0.0)},
            r"--network.temperature must be two numbers above 0, got \(1.0, 0.0\)",
        ),
        (
            {"noise": (1.0, -1.0)},
            r"--network.noise must be two numbers 0 or more, got \(1.0, -1.0\)",
        ),
        ({"position_scale": -1.0}, r"--network.position-scale must be 0 or more, got -1.0"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        NetworkOptions(**options)


def test_options_that_would_do_nothing_are_refused():
    with pytest.raises(InputError, match="do nothing where nothing is nominated"):
        resolve_network(NetworkOptions(noise=(1.0, 0.0), fusion="sum"), "nommer_micro", 64)
    with pytest.raises(
        InputError,
        match=r"--network\.timm: does nothing for nommer_micro, only for a network of timm",
    ):
        resolve_network(NetworkOptions(timm={"img_size": 64}), "nommer_micro", 64)
    with pytest.raises(InputError, match=r"--network\.noise: does nothing for a network of timm"):
        resolve_network(
            NetworkOptions(noise=(1.0, 0.0), timm={"stem_stride": 2}), "timm:test_resnet", 64
        )
