"""The network and the learning rate of a training that names none."""

from dataclasses import replace

import pytest
import torch

from nommer.runs.folder import RunFolder
from nommer.settings.network import NetworkOptions
from nommer.settings.optim import Optim
from nommer.settings.pretrain import PretrainSettings
from nommer.settings.train import TrainSettings
from nommer.tasks.networks import build_network, resolve_network
from nommer.training.batch_of_one import check_batch_of_one
from nommer.training.default_network import as_started, with_network

SMALL, USUAL = ("nommer_mini64", "muon", 2e-3), ("nommer_nano", "adamw", 1e-3)


def chosen(size=64, *, crops=True, **given):
    settings = TrainSettings("data", **given)
    filled = with_network(settings, image_size=size, crops=crops)
    given_or_not = {name: getattr(settings, name) for name in ("model", "lr", "optim", "network")}
    assert replace(filled, **given_or_not) == settings
    assert replace(filled.optim, name=settings.optim.name) == settings.optim
    return filled.model, filled.optim.name, filled.lr


@pytest.mark.parametrize(("size", "expected"), [(48, SMALL), (159, SMALL), (47, USUAL)])
def test_small_images_from_scratch_get_a_network_made_for_them(size, expected, capsys):
    assert chosen(size) == expected
    said = " ".join(capsys.readouterr().err.split())
    if expected == SMALL:
        assert f"images of {size} x {size} pixels from scratch: nommer_mini64, the" in said
        assert "the optimiser muon, a learning rate of 0.002" in said
        assert "larger ones get --model nommer_nano --optim.name adamw --lr 0.001" in said
    else:
        assert not said


def test_others_get_the_usual_without_a_word(capsys):
    assert chosen(160) == chosen(224) == USUAL
    assert chosen(crops=False) == USUAL, "pixels and objects"
    assert chosen(pretrained="nommer_nano") == USUAL
    coefficients = NetworkOptions(kept_coefficients=(8, 2))
    assert chosen(network=coefficients) == USUAL, "they are more than smaller blocks have"
    pretraining = PretrainSettings("data", teacher="nommer_nano")
    filled = with_network(pretraining, image_size=64, crops=True)
    assert (filled.model, filled.optim.name, filled.lr) == USUAL
    assert not capsys.readouterr().err


def test_weights_bring_their_network(tmp_path, capsys):
    assert chosen(pretrained="nommer_nano64.tiny_imagenet_200") == (
        "nommer_nano64",
        "adamw",
        1e-3,
    )
    assert "--pretrained nommer_nano64.tiny_imagenet_200: nommer_nano64" in " ".join(
        capsys.readouterr().err.split()
    )
    run = RunFolder(tmp_path)
    run.write_config(TrainSettings("data", model="timm:resnet18", lr=1.0))
    assert chosen(pretrained=tmp_path) == ("timm:resnet18", "adamw", 1e-3)
    assert chosen(pretrained=tmp_path, model="nommer_nano") == USUAL
    assert chosen(pretrained=tmp_path / "none") == USUAL


def test_each_option_that_is_given_wins_by_itself(capsys):
    assert chosen(lr=5e-4) == ("nommer_mini64", "muon", 5e-4)
    assert "learning rate" not in capsys.readouterr().err
    assert chosen(model="nommer_nano") == USUAL
    assert chosen(model="timm:resnet18") == ("timm:resnet18", "adamw", 1e-3)
    adamw = Optim(name="adamw")
    assert chosen(model="nommer_pico64", lr=1e-3, optim=adamw) == ("nommer_pico64", "adamw", 1e-3)
    assert not capsys.readouterr().err
    assert chosen(optim=adamw) == ("nommer_mini64", "adamw", 2e-3)
    assert "muon" not in capsys.readouterr().err
    assert chosen(model="nommer_pico64", lr=1e-3) == ("nommer_pico64", "muon", 1e-3)
    assert chosen(model="nommer_pico64", optim=adamw) == ("nommer_pico64", "adamw", 2e-3)
    assert "larger ones get --lr 0.001" in " ".join(capsys.readouterr().err.split())


def test_a_run_goes_on_as_it_was_started_whatever_the_default_is_now(tmp_path, capsys):
    run = RunFolder(tmp_path)
    adamw = Optim(name="adamw")
    run.write_config(TrainSettings("data", model="nommer_nano", lr=1e-3, optim=adamw))
    going_on = TrainSettings("data", out=tmp_path, resume=True)
    assert as_started(going_on).model == "nommer_nano"
    filled = with_network(going_on, image_size=64, crops=True)
    assert (filled.model, filled.optim.name, filled.lr) == USUAL
    assert not capsys.readouterr().err
    other = replace(going_on, model="nommer_micro", lr=0.1, optim=Optim(name="sgd"))
    assert as_started(other) == other, "what differs is refused, not changed"


def nominating(size=64, **given):
    network = with_network(TrainSettings("data", **given), image_size=size, crops=True).network
    return network.noise, network.balance


@pytest.mark.parametrize("model", ["auto", "nommer_micro", "nommer_pico64"])
def test_our_own_variants_are_to_use_all_contexts_from_scratch(model, capsys):
    assert nominating(model=model) == nominating(224, model=model) == ((0.3, 0.3), 0.1)
    balance, both = NetworkOptions(balance=0.0), NetworkOptions(noise=(1, 1), balance=0.0)
    assert nominating(model=model, network=balance) == ((0.3, 0.3), 0.0)
    assert nominating(model=model, network=both) == ((1, 1), 0.0)
    assert nominating(model=model, compile=True) == ((0.3, 0.3), 0.0)
    assert "--compile: does not go with the loss" in capsys.readouterr().err


def test_other_trainings_nominate_as_published():
    assert nominating(model="nommer_tiny") == nominating(model="timm:resnet18") == (None, None)
    assert nominating(pretrained="nommer_nano64.tiny_imagenet_200") == (None, None)
    assert nominating(network=NetworkOptions(fusion="sum")) == (None, None)
    late = NetworkOptions(choose_from=0.5, balance=1)
    assert nominating(network=late) == (None, 1)
    for model in ("nommer_mini64", "timm:resnet18"):
        resolved = resolve_network(resolve_network(NetworkOptions(), model, 64), model, 64)
        assert (resolved.noise, resolved.balance) == ((1, 1), 0), "older runs have these too"


def test_noise_and_balance_stay_as_a_run_was_started(tmp_path):
    run, published = RunFolder(tmp_path), NetworkOptions().as_published
    run.write_config(TrainSettings("data", model="nommer_mini64", lr=1e-3, network=published))
    assert nominating(out=tmp_path, resume=True) == ((1, 1), 0)


@pytest.mark.parametrize("size", [48, 50, 81, 96, 127, 159])
def test_it_learns_from_images_of_every_such_size(size):
    network = resolve_network(NetworkOptions(), SMALL[0], size)
    settings = TrainSettings("data", model=SMALL[0], image_size=size, batch_size=1, network=network)
    built = build_network(settings, num_classes=2)
    check_batch_of_one(built, settings)
    loss = torch.nn.functional.cross_entropy(built(torch.rand(2, 3, size, size)), torch.eye(2))
    loss.backward()
    assert all(parameter.grad is not None for parameter in built.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"patch_size": 1},
        {"patch_size": 2, "contexts": ("window",)},
        {"window_size": 7, "block_sizes": (8, 4)},
        {"stem": "patch", "global_pool": "token", "fusion": "sum"},
    ],
)
def test_changes_to_the_network_fit_it_too(options):
    size = 64
    network = resolve_network(NetworkOptions(**options), SMALL[0], size)
    settings = TrainSettings("data", model=SMALL[0], image_size=size, network=network)
    assert build_network(settings, num_classes=2)(torch.rand(1, 3, size, size)).shape == (1, 2)
