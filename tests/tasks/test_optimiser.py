"""Optimiser and schedule: which parameters decay, and the published learning rates to the digit."""

import pytest
import torch

from nommer.errors import InputError
from nommer.recipes import read_recipe
from nommer.settings.optim import Optim
from nommer.tasks.optimiser import build_optimizer, build_scheduler, check_optimiser


def groups_by_name(network, optimizer):
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        names[id(parameter)]: group
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_every_parameter_is_optimised_once_and_only_matrices_decay(tiny_classifier):
    network = tiny_classifier().network
    optimizer = build_optimizer(Optim(weight_decay=0.07), network, 1e-3)
    groups = groups_by_name(network, optimizer)
    assert set(groups) == {name for name, _ in network.named_parameters()}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(groups)
    for name, parameter in network.named_parameters():
        embedding = name.endswith(("pos_embed", "cls_token", "relative_position_bias_table"))
        decays = parameter.ndim > 1 and not embedding
        assert groups[name]["weight_decay"] == (0.07 if decays else 0), name
    assert groups["head.weight"]["weight_decay"] == 0.07
    for name in (
        "head.bias",
        "norm.weight",
        "stages.2.pos_embed",
        "stages.3.cls_token",
        "stem.norm.weight",
    ):
        assert groups[name]["weight_decay"] == 0


def test_layer_decay_shrinks_the_rate_towards_the_stem(tiny_classifier):
    network = tiny_classifier().network
    groups = groups_by_name(network, build_optimizer(Optim(layer_decay=0.5), network, 1e-3))
    scales = [
        groups[name]["lr_scale"]
        for name in ("stem.conv.weight", "stages.1.blocks.0.mlp.fc1.weight", "head.weight")
    ]
    assert scales == sorted(scales)
    assert scales[0] < scales[1] < scales[2] == 1


def test_settings_reach_the_optimiser(tiny_classifier):
    network = tiny_classifier().network
    optimizer = build_optimizer(Optim(betas=(0.8, 0.95), eps=1e-6), network, 2e-3)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.95)
    assert optimizer.param_groups[0]["eps"] == 1e-6
    assert optimizer.param_groups[0]["lr"] == 2e-3
    for name in ("sgd", "lamb", "lion", "adan"):
        build_optimizer(Optim(name=name), network, 1e-3)


def rates(optim, lr, *, epochs, steps):
    """The learning rate at every step of a run."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = build_scheduler(optim, optimizer, lr, epochs=epochs, steps_per_epoch=steps)
    found = [optimizer.param_groups[0]["lr"]]
    for step in range(1, epochs * steps + 1):
        scheduler.step_update(num_updates=step)
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize("variant", ["tiny", "small", "base"])
@pytest.mark.parametrize("processes", [8, 4])
def test_the_imagenet_recipes_have_the_published_learning_rates(variant, processes):
    recipe = read_recipe(f"imagenet1k_nommer_{variant}")
    optim = Optim(**recipe["optim"])
    scale = recipe["batch_size"] * processes / 512
    lr = optim.scaled_lr(recipe["lr"], recipe["batch_size"] * processes)
    assert lr == pytest.approx(5e-4 * scale)
    found = rates(optim, lr, epochs=recipe["epochs"], steps=10)
    warm = 20 * 10
    assert found[0] == pytest.approx(5e-7 * scale)
    assert found[warm // 2] == pytest.approx((5e-7 + 5e-4) / 2 * scale, rel=1e-6)
    assert max(found) == pytest.approx(5e-4 * scale, rel=1e-2)
    assert found.index(max(found)) in (warm - 1, warm)
    assert found[-1] == pytest.approx(5e-6 * scale)
    assert all(a > b for a, b in zip(found[warm:-1], found[warm + 1 :], strict=True)), (
        "falls all the way"
    )


def test_the_warm_up_takes_a_tenth_of_a_short_run_at_most():
    found = rates(Optim(), 1e-3, epochs=10, steps=8)
    assert found[0] == pytest.approx(1e-6)
    assert max(found[:8]) < 1e-3
    assert found[8] > 0.97e-3
    assert found[-1] == pytest.approx(1e-5)


def test_a_warm_up_that_is_asked_for_is_obeyed():
    found = rates(Optim(warmup_epochs=4), 1e-3, epochs=10, steps=8)
    assert found.index(max(found)) in (31, 32)


def test_a_run_of_one_step_has_a_learning_rate():
    found = rates(Optim(), 1e-3, epochs=1, steps=1)
    assert len(found) == 2
    assert all(0 < rate <= 1e-3 for rate in found)


def test_the_learning_rate_is_scaled_only_where_a_reference_is_given():
    assert Optim().scaled_lr(1e-3, 4096) == 1e-3
    assert Optim(reference_batch=512).scaled_lr(1e-3, 128) == pytest.approx(2.5e-4)


@pytest.mark.parametrize("variant", ["tiny", "small", "base"])
def test_the_ade20k_recipes_have_the_published_learning_rates(variant):
    recipe = read_recipe(f"ade20k_upernet_160k_nommer_{variant}")
    assert recipe["epochs"] * recipe["epoch_steps"] == 160_000
    assert recipe["optim"]["warmup_epochs"] * recipe["epoch_steps"] == 1500
    optim = Optim(**recipe["optim"]).resolved(schedule="poly", label_smoothing=0.0)
    found = rates(optim, recipe["lr"], epochs=10, steps=1600)  # a tenth as many steps
    assert found[0] == pytest.approx(6e-11)
    assert found[75] == pytest.approx(3e-5, rel=1e-3)
    for step in (150, 4000, 8000, 15_999):
        assert found[step] == pytest.approx(6e-5 * (1 - step / 16_000), rel=1e-6)
    assert found[-1] == 0


def test_poly_falls_as_its_power_says():
    found = rates(
        Optim(schedule="poly", power=0.9, warmup_epochs=0, min_factor=0.1), 1e-3, epochs=5, steps=8
    )
    for step, rate in enumerate(found[:-1]):
        assert rate == pytest.approx(1e-4 + 9e-4 * (1 - step / 40) ** 0.9)


def test_steps_divide_by_ten_after_their_epochs():
    found = rates(
        Optim(schedule="steps", milestones=(8, 11), warmup_epochs=0.5), 1e-4, epochs=12, steps=10
    )
    assert found[0] == pytest.approx(1e-7)
    assert found[5:80] == pytest.approx([1e-4] * 75)
    assert found[80:110] == pytest.approx([1e-5] * 30)
    assert found[110:120] == pytest.approx([1e-6] * 10)
    by_default = rates(Optim(schedule="steps"), 1e-4, epochs=12, steps=10)
    assert by_default[80:] == pytest.approx(found[80:])


def test_what_is_not_given_depends_on_the_task():
    classification = Optim().resolved(schedule="cosine", label_smoothing=0.1)
    segmentation = Optim().resolved(schedule="poly", label_smoothing=0.0)
    assert (classification.schedule, classification.label_smoothing, classification.min_factor) == (
        "cosine",
        0.1,
        0.01,
    )
    assert (segmentation.schedule, segmentation.label_smoothing, segmentation.min_factor) == (
        "poly",
        0.0,
        0.0,
    )
    given = Optim(schedule="cosine", label_smoothing=0.2, min_factor=0.3)
    assert given.resolved(schedule="poly", label_smoothing=0.0) == given


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, "optim.label_smoothing must be at least 0 and below 1, got 1.0"),
        ({"weight_decay": -1}, "optim.weight_decay must be 0 or more, got -1"),
        ({"clip_grad": -1}, "optim.clip_grad must be 0 or more, got -1"),
        ({"eps": 0}, "optim.eps must be above 0, got 0"),
        ({"power": 0}, "optim.power must be above 0, got 0"),
        ({"milestones": (3, 2)}, "optim.milestones must be rising numbers above 0, got (3, 2)"),
        ({"milestones": (0,)}, "optim.milestones must be rising numbers above 0, got (0,)"),
        (
            {"betas": (0.9, 1.0)},
            "optim.betas must be two numbers, at least 0 and below 1, got (0.9, 1.0)",
        ),
        ({"betas": (0.9,)}, "optim.betas must be two numbers"),
        (
            {"name": "adan", "betas": (0.9, 0.95)},
            "optim.betas: adan has 3 of them, at their own values; leave betas",
        ),
        ({"layer_decay": 0}, "optim.layer_decay must be above 0 and at most 1, got 0"),
        ({"reference_batch": 0}, "optim.reference_batch must be 1 or more, got 0"),
        ({"name": "adamm"}, "optim.name 'adamm' is no optimiser of timm"),
        ({"name": "adahessian"}, "optim.name 'adahessian' needs second derivatives"),
    ],
)
def test_values_out_of_range_are_named(options, message):
    with pytest.raises(InputError) as caught:
        check_optimiser(Optim(**options))
    assert message in str(caught.value)
