"""Networks from plain descriptions and back, without the network and without running anything."""

import json
from pathlib import Path

import pytest
import timm
import torch

from nommer import InputError
from nommer.models.networks import (
    as_nominating,
    build_network,
    build_timm,
    check_same_architecture,
    describe_network,
)
from nommer.models.upernet import UPerNet


@pytest.mark.parametrize(
    "network",
    [
        lambda: timm.create_model("nommer_micro", num_classes=5, patch_size=2),
        lambda: timm.create_model(
            "nommer_micro", contexts=["window", "global"], kept_coefficients=[3, 3]
        ),
        lambda: timm.create_model("nommer_micro", fusion="softmax", compression="average"),
        lambda: build_timm("test_resnet", num_classes=5),
        lambda: build_timm("test_convnext", num_classes=0),
        lambda: build_timm(
            "test_vit", num_classes=5, options={"img_size": [64, 96], "patch_size": 8}
        ),
        lambda: build_timm(
            "test_resnet", num_classes=5, options={"stem_stride": 2, "drop_path_rate": 0.1}
        ),
        lambda: (
            UPerNet(
                build_timm("test_efficientnet", num_classes=5), num_classes=3, decoder_channels=8
            ).backbone
        ),
    ],
)
def test_a_description_makes_the_same_network_again(network):
    network = network()
    description = json.loads(json.dumps(describe_network(network)))
    again = build_network(description)
    assert type(again) is type(network)
    assert again.num_classes == network.num_classes
    assert describe_network(again) == describe_network(network)
    shapes = [
        {name: value.shape for name, value in one.state_dict().items()} for one in (network, again)
    ]
    assert shapes[0].items() <= shapes[1].items(), (
        "a segmenter's backbone has lost what it does not use"
    )


@pytest.mark.parametrize(
    "name", ["resnet_of_nobody", "hf-hub:timm/resnet18", "https://x.y/z", "resnet18.a1_in1k", ""]
)
def test_only_names_that_timm_knows_are_built(name):
    with pytest.raises(InputError, match="timm has no network called"):
        build_network({"timm": name, "num_classes": 3})


def test_a_mistyped_name_is_answered_by_similar_ones():
    with pytest.raises(InputError, match=r"called 'resnet-18'; did you mean .*\bresnet18\b"):
        build_timm("resnet-18", num_classes=3)


def test_swin_transformers_take_images_of_any_size():
    network = UPerNet(
        build_timm("swin_tiny_patch4_window7_224", num_classes=0), num_classes=3, decoder_channels=8
    )
    with torch.no_grad():
        assert network.eval()(torch.randn(1, 3, 70, 97)).shape == (1, 3, 70, 97)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_a_stem_of_half_the_stride_halves_every_stride(name):
    usual, halved = (
        build_timm(name, num_classes=3, options=options) for options in ({}, {"stem_stride": 2})
    )
    assert halved.state_dict().keys() == usual.state_dict().keys()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        sizes = [
            one.shape[-1]
            for one in halved.eval().forward_intermediates(images, intermediates_only=True)
        ]
    assert sizes == [64 // info["reduction"] for info in halved.feature_info]
    assert sizes[-1] == 4
    assert usual.feature_info[-1]["reduction"] == 32
    segmenter = UPerNet(halved, num_classes=3, decoder_channels=8).eval()
    with torch.no_grad():
        assert segmenter(images).shape == (1, 3, 64, 64)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("test_resnet", {"pretrained": True}, "cannot be given pretrained True here"),
        (
            "test_resnet",
            {"pretrained_cfg_overlay": "x"},
            "cannot be given pretrained_cfg_overlay 'x' here",
        ),
        (
            "test_resnet",
            {"checkpoint_path": "/x.pth"},
            "cannot be given checkpoint_path '/x.pth' here",
        ),
        (
            "test_resnet",
            {"block_args": {"a": 1}},
            "cannot be given block_args .* here; only numbers, texts",
        ),
        ("test_resnet", {"windows": 4}, "timm cannot build test_resnet with windows 4: .*windows"),
        (
            "test_convnext",
            {"depths": [2, 2]},
            r"timm cannot build test_convnext with depths \[2, 2\]: .*out of range",
        ),
        (
            "test_convnext",
            {"act_layer": "foo"},
            "timm cannot build test_convnext with act_layer 'foo': .*foo",
        ),
        (
            "test_resnet",
            {"block": "x"},
            "timm cannot build test_resnet with block 'x': .*no attribute",
        ),
        ("test_vit", {"patch_size": 0}, "timm cannot build test_vit with patch_size 0: .*zero"),
        (
            "test_vit",
            {"img_size": 64, "stem_stride": 2},
            "cannot be given stem_stride 2; only 2, and of ResNets",
        ),
        (
            "test_resnet",
            {"stem_stride": 1},
            "cannot be given stem_stride 1; only 2, and of ResNets",
        ),
    ],
)
def test_options_only_say_how_a_network_is_built(name, options, message):
    with pytest.raises(InputError, match=message):
        build_network({"timm": name, "num_classes": 3, "options": options})


def test_what_is_no_known_network_cannot_be_described():
    with pytest.raises(ValueError, match="Linear is neither a NomMer nor a network of timm"):
        describe_network(torch.nn.Linear(1, 1))


NETWORKS = {
    "micro": lambda **changes: timm.create_model("nommer_micro", **changes),
    "resnet": lambda: build_timm("test_resnet", num_classes=3),
    "convnext": lambda: build_timm("test_convnext", num_classes=3),
}


@pytest.mark.parametrize(
    ("name", "other", "changes", "message"),
    [
        (
            "micro",
            "micro",
            {"patch_size": 2, "depths": (1, 1, 2, 1)},
            r"with depths \(1, 1, 2, 1\) \(now \(1, 1, 1, 1\)\), patch_size 2 \(now 4\)",
        ),
        ("micro", "micro", {"fusion": "sum"}, r"with fusion sum \(now nomination\)"),
        ("micro", "resnet", {}, r"with network timm:test_resnet \(now a NomMer\)"),
        ("resnet", "micro", {}, r"with network a NomMer \(now timm:test_resnet\)"),
        ("resnet", "convnext", {}, r"with network timm:test_convnext \(now timm:test_resnet\)"),
    ],
)
def test_weights_of_another_architecture_are_refused(name, other, changes, message):
    with pytest.raises(
        InputError, match=f"--pretrained x/y is another network, {message}; choose the --model"
    ):
        check_same_architecture(NETWORKS[name](), NETWORKS[other](**changes), Path("x/y"))


def test_what_nominates_nothing_is_refused_where_nominations_are_asked_for():
    nominating = NETWORKS["micro"](fusion="softmax")
    assert as_nominating(nominating, "x") is nominating
    with pytest.raises(
        InputError,
        match=r"x: nothing nominates in its network \(contexts window, fusion nomination\)",
    ):
        as_nominating(NETWORKS["micro"](contexts=["window"]), "x")
    with pytest.raises(
        InputError,
        match=r"x: its network is timm's test_resnet, which nominates nothing; give a model",
    ):
        as_nominating(NETWORKS["resnet"](), "x")


def test_options_of_a_network_of_timm_may_differ_where_they_have_no_weights():
    halved, dropping = (
        build_timm("test_resnet", num_classes=3, options=options)
        for options in ({"stem_stride": 2}, {"stem_stride": 2, "drop_path_rate": 0.2})
    )
    check_same_architecture(halved, dropping, Path("x"))
    with pytest.raises(
        InputError,
        match=r"with network timm:test_resnet with \{'stem_stride': 2\} \(now timm:test_res",
    ):
        check_same_architecture(NETWORKS["resnet"](), halved, Path("x"))


def test_what_has_no_weights_may_differ():
    micro = NETWORKS["micro"]
    check_same_architecture(
        micro(), micro(num_classes=3, img_size=64, drop_path_rate=0.3), Path("x")
    )
    check_same_architecture(
        build_timm("test_resnet", num_classes=3),
        build_timm("test_resnet", num_classes=9),
        Path("x"),
    )
