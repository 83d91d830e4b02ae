"""A configuration that cannot be built is refused, with the field's name, what was found and what
is allowed.
"""

import dataclasses

import pytest
import timm

from nommer.backbone.config import NomMerConfig
from nommer.backbone.variants import VARIANTS

pytestmark = pytest.mark.usefixtures("unchecked")  # a user runs without the checks of types


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("depths", (2, 2, 8)),
        ("depths", (2, 2, 8, 0)),
        ("num_heads", (2, 2, 4)),
        ("num_heads", (2, 2, 4, 0)),
        ("num_heads", (5, 2, 4, 8)),
        ("mlp_ratios", (2, 2, 2, 2, 1)),
        ("block_sizes", (8,)),
        ("block_sizes", (8, 0)),
        ("embed_dim", 0),
        ("embed_dim", 20),
        ("expansion", 0),
        ("expansion", 5),
        ("window_size", 0),
        ("in_chans", 0),
        ("patch_size", 3),
        ("patch_size", 8),
        ("global_pool", "max"),
        ("stem", "conv"),
        ("position_std", -0.1),
        ("position_std", float("nan")),
        ("num_classes", -1),
        ("drop_rate", 1.0),
        ("drop_path_rate", -0.1),
        ("drop_path_rate", float("nan")),
        ("contexts", ()),
        ("contexts", ("window", "window")),
        ("contexts", ("spectral",)),
        ("contexts", "window"),
        ("fusion", "mean"),
        ("compression", "max"),
        ("kept_coefficients", (4,)),
        ("kept_coefficients", (9, 2)),
        ("kept_coefficients", (4, 0)),
        ("img_size", 0),
        ("img_size", (224, -1)),
        ("img_size", (3, 224, 224)),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf"^{field}.* must .*got") as error:
        NomMerConfig(**{field: value})
    found = value[-1] if field == "num_heads" and value[0] == 5 else value
    assert (
        str(value) in str(error.value)
        or str(found) in str(error.value)
        or "got 5" in str(error.value)
    )


def test_the_widths_that_a_message_names_are_those_of_the_stage():
    with pytest.raises(ValueError, match=r"num_heads of stage 3 must divide its width 384, got 5"):
        NomMerConfig(num_heads=(2, 2, 5, 8))


@pytest.mark.parametrize("option", [{"embed_dims": 96}, {"pos_drop_rate": 0.1}])
def test_an_option_that_does_not_exist_is_refused(option):
    with pytest.raises(TypeError, match=next(iter(option))):
        timm.create_model("nommer_micro", **option)


def test_timm_hands_bad_values_to_the_configuration():
    with pytest.raises(ValueError, match="patch_size must be 4, 2 or 1, got 16"):
        timm.create_model("nommer_micro", patch_size=16)
    with pytest.raises(
        ValueError, match="global_pool must be one of 'token', 'avg', '', got 'max'"
    ):
        timm.create_model("nommer_micro").reset_classifier(5, global_pool="max")


def test_options_that_would_change_nothing_are_refused():
    with pytest.raises(
        ValueError,
        match=r"fusion must be left out where there is one context \(window\), got 'softmax'",
    ):
        NomMerConfig(contexts=["window"], fusion="softmax")
    with pytest.raises(
        ValueError, match="compression must be left out without the global context, got 'average'"
    ):
        NomMerConfig(contexts=["window", "convolution"], compression="average")
    with pytest.raises(
        ValueError,
        match=r"kept_coefficients must be left out without the global context, got \(1, 1\)",
    ):
        NomMerConfig(contexts=["window"], kept_coefficients=(1, 1))


def test_contexts_stand_in_one_order_and_the_published_r_is_none():
    assert NomMerConfig(contexts=["global", "convolution"]).contexts == ("convolution", "global")
    assert NomMerConfig(kept_coefficients=[4, 2]) == NomMerConfig()
    assert NomMerConfig(kept_coefficients=[4, 2], block_sizes=(5, 4)).kept == (4, 2)
    assert NomMerConfig(block_sizes=(5, 4)).kept == (3, 2)


def test_only_several_contexts_that_are_not_summed_nominate():
    assert NomMerConfig().nominates
    assert NomMerConfig(contexts=["window", "global"], fusion="softmax").nominates
    assert not NomMerConfig(contexts=["window"]).nominates
    assert not NomMerConfig(fusion="sum").nominates


def test_lists_and_single_numbers_are_taken_as_tuples():
    config = NomMerConfig(
        depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 4], block_sizes=[4, 4], img_size=64
    )
    assert config == NomMerConfig(
        depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 4), block_sizes=(4, 4), img_size=(64, 64)
    )
    assert hash(config) == hash(dataclasses.replace(config))


def test_a_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        NomMerConfig().embed_dim = 8


def test_widths_and_reductions_double_from_stage_to_stage():
    config = VARIANTS["nommer_base"]
    assert config.widths == (128, 256, 512, 1024)
    assert config.reductions == (4, 8, 16, 32)
    assert config.grid_size(97, 131, stage=3) == (4, 5)
    assert config.position_grid == (14, 14)
