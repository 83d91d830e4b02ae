"""Networks from plain descriptions and back, without the network and without running anything."""

import json
from pathlib import Path

import pytest
import timm
import torch

from nommer import InputError
from nommer.heads.networks import as_nominating, build_network, build_timm, check_same_architecture, describe_network
from nommer.heads.upernet import UPerNet


@pytest.mark.parametrize(
    "network",
    [
        lambda: timm.create_model("nommer_micro", num_classes=5, patch_size=2),
        lambda: timm.create_model("nommer_micro", contexts=["window", "global"], kept_coefficients=[3, 3]),
        lambda: timm.create_model("nommer_micro", fusion="softmax", compression="average"),
        lambda: build_timm("test_resnet", num_classes=5),
        lambda: build_timm("test_convnext", num_classes=0),
        lambda: UPerNet(build_timm("test_efficientnet", num_classes=5), num_classes=3, decoder_channels=8).backbone,
    ],
)
def test_a_description_makes_the_same_network_again(network):
    network = network()
    description = json.loads(json.dumps(describe_network(network)))
    again = build_network(description)
    assert type(again) is type(network)
    assert again.num_classes == network.num_classes
    assert describe_network(again) == describe_network(network)
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (network, again)]
    assert shapes[0].items() <= shapes[1].items(), "a segmenter's backbone has lost what it does not use"


@pytest.mark.parametrize("name", ["resnet_of_nobody", "hf-hub:timm/resnet18", "https://x.y/z", "resnet18.a1_in1k", ""])
def test_only_names_that_timm_knows_are_built(name):
    with pytest.raises(InputError, match="timm has no network called"):
        build_network({"timm": name, "num_classes": 3})


def test_a_mistyped_name_is_answered_by_similar_ones():
    with pytest.raises(InputError, match=r"called 'resnet-18'; did you mean .*\bresnet18\b"):
        build_timm("resnet-18", num_classes=3)


def test_swin_transformers_take_images_of_any_size():
    network = UPerNet(build_timm("swin_tiny_patch4_window7_224", num_classes=0), num_classes=3, decoder_channels=8)
    with torch.no_grad():
        assert network.eval()(torch.randn(1, 3, 70, 97)).shape == (1, 3, 70, 97)


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
    with pytest.raises(InputError, match=f"--pretrained x/y is another network, {message}; choose the --model"):
        check_same_architecture(NETWORKS[name](), NETWORKS[other](**changes), Path("x/y"))


def test_what_nominates_nothing_is_refused_where_nominations_are_asked_for():
    nominating = NETWORKS["micro"](fusion="softmax")
    assert as_nominating(nominating, "x") is nominating
    with pytest.raises(InputError, match=r"x: nothing nominates in its network \(contexts window, fusion nomination\)"):
        as_nominating(NETWORKS["micro"](contexts=["window"]), "x")
    with pytest.raises(
        InputError, match=r"x: its network is timm's test_resnet, which nominates nothing; give a model"
    ):
        as_nominating(NETWORKS["resnet"](), "x")


def test_what_has_no_weights_may_differ():
    micro = NETWORKS["micro"]
    check_same_architecture(micro(), micro(num_classes=3, img_size=64, drop_path_rate=0.3), Path("x"))
    check_same_architecture(
        build_timm("test_resnet", num_classes=3), build_timm("test_resnet", num_classes=9), Path("x")
    )
