"""The family: sizes, costs and initial weights of the published networks and of ours."""

import math

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nommer.backbone.network import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.settings.network import NetworkOptions
from nommer.tasks.networks import resolve_network

PARAMETERS = {
    "nommer_tiny": 22_455_804,
    "nommer_small": 41_532_388,
    "nommer_base": 73_404_900,
    "nommer_micro": 395_568,
    "nommer_pico": 1_420_704,
    "nommer_nano": 3_569_808,
    "nommer_pico64": 1_394_816,
    "nommer_nano64": 2_402_496,
    "nommer_mini64": 2_514_496,
}
GMACS = {"nommer_tiny": 5.4, "nommer_small": 10.1, "nommer_base": 17.6, "nommer_nano": 0.93}


def on_meta(name, **options):
    with torch.device("meta"):
        return timm.create_model(name, **options)


@pytest.mark.parametrize("name", VARIANTS)
def test_number_of_parameters_is_exact(name):
    model = on_meta(name)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == PARAMETERS[name]
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", VARIANTS)
def test_constants_are_buffers_and_stay_out_of_the_state_dict(name):
    model = on_meta(name)
    constants = {
        key
        for key, _ in model.named_buffers()
        if key.endswith((".basis", ".relative_position_index"))
    }
    blocks = sum(VARIANTS[name].depths[:2])
    assert len(constants) == 2 * blocks
    assert not constants & {key for key, _ in model.named_parameters()}
    assert not constants & model.state_dict().keys()


@pytest.mark.parametrize("name", GMACS)
def test_multiply_adds_at_224_are_as_published(name):
    model = on_meta(name).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(GMACS[name], rel=0.015)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("nommer_pico64", 0.0289), ("nommer_nano64", 0.0536), ("nommer_mini64", 0.0630)],
)
def test_multiply_adds_at_64_are_as_the_family_says(name, expected):
    model = on_meta(name, num_classes=20).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 64, 64, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=0.01)


def test_a_variant_for_small_images_keeps_its_sizes_and_its_pooling():
    model = on_meta("nommer_pico64", num_classes=20)
    assert model.config.img_size == (64, 64)
    assert (model.config.stem, model.global_pool, model.config.patch_size) == (
        "overlapping",
        "avg",
        4,
    )
    assert model.pretrained_cfg["input_size"] == (3, 64, 64)
    assert model.pretrained_cfg["first_conv"] == "stem.steps.0"
    assert resolve_network(NetworkOptions(), "nommer_pico64", 64).window_size == 4
    assert resolve_network(NetworkOptions(), "nommer_pico64", 64).patch_size == 4
    assert resolve_network(NetworkOptions(window_size=8), "nommer_pico64", 64).window_size == 8


def test_multiply_adds_include_attention_and_transforms():
    with torch.device("meta"):
        model = timm.create_model("nommer_micro").eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 224, 224))
    counts = {
        module.removeprefix("NomMer."): sum(ops.values()) / 2
        for module, ops in counter.get_flop_counts().items()
    }
    tokens, width, side = 56 * 56, 16, 7
    window = (
        tokens * (3 + 1) * width**2 + 2 * tokens * side**2 * width
    )  # projections, then scores and sums
    assert counts["stages.0.blocks.0.mixer.window"] == window
    blocks, frequencies, pixels, groups = 7 * 7, 4 * 4, 8 * 8, 8
    transforms = 2 * blocks * width * frequencies * pixels  # there and back
    squeezes = 2 * blocks * frequencies * width * width // groups
    attention = blocks * (3 + 1) * width**2 + 2 * blocks**2 * width
    assert counts["stages.0.blocks.0.mixer.spectral"] == transforms + squeezes + attention


@pytest.mark.parametrize("name", VARIANTS)
def test_drop_path_grows_linearly_over_all_blocks(name):
    model = on_meta(name, drop_path_rate=0.3)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks]
    assert len(rates) == sum(VARIANTS[name].depths)
    assert rates == pytest.approx([0.3 * i / (len(rates) - 1) for i in range(len(rates))], abs=1e-6)


def test_published_drop_path_rates():
    rates = {
        name: config.drop_path_rate for name, config in VARIANTS.items() if config.drop_path_rate
    }
    assert rates == {"nommer_tiny": 0.1, "nommer_small": 0.3, "nommer_base": 0.5}


def test_initial_weights_have_the_published_distributions():
    model = timm.create_model("nommer_pico")
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.25), name
            assert module.weight.abs().max() <= 2.0
            assert module.bias is None or not module.bias.any()
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            assert module.eps == 1e-5
            assert (module.weight == 1).all()
            assert not module.bias.any()
        if isinstance(module, nn.Conv2d):
            bound = 1 / math.sqrt(module.weight[0].numel())
            assert bound * 0.9 < module.weight.abs().max() <= bound, name
    for name, parameter in model.named_parameters():
        if name.endswith("relative_position_bias_table"):
            assert parameter.std().item() == pytest.approx(0.02, rel=0.25)
        if name.endswith(("pos_embed", "cls_token")):
            assert parameter.std().item() == pytest.approx(1.0, rel=0.1)


def test_biases_stand_where_the_paper_has_them():
    names = {name for name, _ in NomMer(VARIANTS["nommer_micro"]).named_parameters()}
    nominator, globally = "stages.0.blocks.0.mixer.", "stages.3.blocks.0.mixer."
    assert nominator + "window.attention.qkv.bias" in names
    assert nominator + "spectral.attention.qkv.bias" not in names
    assert globally + "qkv.bias" not in names
    assert globally + "proj.bias" in names
    assert "stem.conv.bias" not in names
    assert "stages.1.downsample.conv.bias" in names
    assert not any("convolution.conv" in name and name.endswith("bias") for name in names)


def test_mlp_widths():
    model = on_meta("nommer_tiny")
    ratios = [
        stage.blocks[0].mlp.fc1.out_features / stage.blocks[0].mlp.fc1.in_features
        for stage in model.stages
    ]
    assert ratios == [2, 2, 2, 1]
