"""Segmenters and peers on disk, and what a segmenter takes over from other models."""

import json

import pytest
import torch

from nommer import Classifier, InputError, NomMer
from nommer.backbone.checkpoint import to_published
from nommer.backbone.variants import VARIANTS
from nommer.data.transforms import Preprocessing
from nommer.models.networks import build_timm
from nommer.models.segmentation import Segmenter
from nommer.models.storage import load, load_backbone, network_of, nommer_of, save_model
from nommer.models.upernet import UPerNet


@pytest.fixture
def saved(tmp_path, tiny_segmenter):
    model = tiny_segmenter(("Käfer", "猫", "with space"), seed=3, short_side=40, long_side=90)
    save_model(tmp_path / "model", model, metrics={"miou": 0.5}, version="1.2.3")
    return tmp_path / "model", model


@pytest.fixture
def peer(tmp_path):
    """A classifier on a network of timm."""
    network = build_timm("test_convnext", num_classes=2)
    model = Classifier(
        network, class_names=["a", "b"], preprocessing=Preprocessing(image_size=32)
    ).eval()
    save_model(tmp_path / "peer", model, metrics={}, version="1")
    return tmp_path / "peer", model


def assert_same(one, other):
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(
        torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items()
    )
    images = torch.rand(2, 3, 40, 50)
    assert torch.equal(one(images), other(images))


def test_a_segmenter_comes_back_bit_for_bit(saved):
    folder, model = saved
    loaded = load(folder.parent)
    assert isinstance(loaded, Segmenter)
    assert not loaded.training
    for name in ("class_names", "colours", "preprocessing"):
        assert getattr(loaded, name) == getattr(model, name)
    assert_same(loaded, model)


def test_a_segmenter_on_a_peer_comes_back_bit_for_bit(tmp_path, tiny_segmenter):
    model = tiny_segmenter(backbone=build_timm("test_resnet", num_classes=9))
    save_model(tmp_path, model, metrics={}, version="1")
    assert_same(load(tmp_path), model)


def test_a_classifier_on_a_peer_comes_back_bit_for_bit(peer):
    folder, model = peer
    assert_same(load(folder), model)
    assert json.loads((folder / "model.json").read_text())["architecture"] == {
        "timm": "test_convnext",
        "num_classes": 2,
    }


def test_the_description_tells_what_one_wants_to_know(saved):
    description = json.loads((saved[0] / "model.json").read_text(encoding="utf-8"))
    assert description["task"] == saved[1].task == "segmentation"
    assert description["class_names"] == ["Käfer", "猫", "with space"]
    assert description["colours"] == [list(colour) for colour in saved[1].colours]
    assert description["metrics"] == {"miou": 0.5}
    assert description["head"] == {"decoder_channels": 8, "auxiliary_channels": 4, "dropout": 0.1}
    assert description["preprocessing"]["short_side"] == 40
    assert description["architecture"]["embed_dim"] == 16


def change(folder, **changes):
    """As whoever means it does: the checksums would tell."""
    path = folder / "model.json"
    description = json.loads(path.read_text()) | changes
    del description["sha256"]
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task": "tracking"},
            "a model for the task 'tracking', which this nommer does not know (known: classificat",
        ),
        ({"task": None}, "a model for the task None, which this nommer does not know"),
        ({"task": "classification"}, "does not describe a model"),
        ({"head": None}, "does not describe a model"),
        ({"head": {"decoder_channels": 0}}, "decoder_channels must be 1 or more, got 0"),
        ({"head": {"width": 3}}, "does not describe a model"),
        ({"colours": [[1, 2, 3]]}, "the network has 3 outputs but 1 colours were given"),
        ({"colours": [[1, 2], [1, 2], [1, 2]]}, "does not describe a model"),
        ({"class_names": ["a", "b"]}, "the network has 2 outputs but 3 colours were given"),
        ({"preprocessing": {"image_size": 5}}, "image_size must be 32 pixels or more, got 5"),
        (
            {"architecture": {"timm": "resnet_of_nobody", "num_classes": 0}},
            "timm has no network called",
        ),
        ({"architecture": {"timm": "test_resnet"}}, "does not describe a model"),
        (
            {"architecture": {"timm": "test_resnet", "num_classes": 0}},
            "entries do not fit the network",
        ),
    ],
)
def test_a_damaged_model_is_refused_with_the_file_and_the_reason(saved, changes, message):
    change(saved[0], **changes)
    with pytest.raises(InputError) as caught:
        load(saved[0])
    assert message in str(caught.value)
    assert str(saved[0]) in str(caught.value)


def test_a_model_without_a_task_is_a_classifier(tmp_path, tiny_classifier):
    """As in the first version of the format."""
    save_model(tmp_path, tiny_classifier(), metrics={}, version="1")
    description = json.loads((tmp_path / "model.json").read_text())
    del description["task"], description["sha256"]
    (tmp_path / "model.json").write_text(json.dumps(description))
    assert isinstance(load(tmp_path), Classifier)


def test_the_network_inside(saved, peer, tiny_classifier):
    assert network_of(saved[1], "x") is nommer_of(saved[1], "x") is saved[1].network.backbone
    assert nommer_of(tiny_classifier(), "x").num_classes == 3
    assert network_of(peer[1], "x") is peer[1].network
    with pytest.raises(
        InputError, match="x: its network is timm's test_convnext, which nominates nothing"
    ):
        nommer_of(peer[1], "x")


class TestLoadBackbone:
    def fresh(self, tiny_segmenter, **options):
        return tiny_segmenter(seed=9, **options).network

    def check(self, network, source, expected):
        """The backbone is `expected`'s afterwards, and everything else as it was."""
        before = {name: value.clone() for name, value in network.state_dict().items()}
        loaded, left = load_backbone(network, source)
        after = network.state_dict()
        for name, value in after.items():
            taken = name.startswith("backbone.")
            assert torch.equal(
                value, expected[name.removeprefix("backbone.")] if taken else before[name]
            ), name
        return loaded, left

    def test_of_a_segmenter(self, saved, tiny_segmenter):
        folder, model = saved
        loaded, left = self.check(
            self.fresh(tiny_segmenter), folder, model.network.backbone.state_dict()
        )
        assert all(name.startswith("backbone.") for name in loaded)
        assert {name.split(".")[0] for name in left} == {"decoder", "classifier", "auxiliary"}
        assert sorted(loaded + left) == sorted(model.network.state_dict())

    def test_of_a_classifier(self, tmp_path, tiny_classifier, tiny_segmenter):
        model = tiny_classifier(seed=4)
        save_model(tmp_path, model, metrics={}, version="1")
        loaded, left = self.check(self.fresh(tiny_segmenter), tmp_path, model.network.state_dict())
        assert left == ["norm.weight", "norm.bias", "head.weight", "head.bias"]
        assert sorted(loaded + left) == sorted(model.network.state_dict())

    def test_of_a_published_checkpoint(self, tmp_path, tiny_segmenter):
        torch.manual_seed(0)
        published = NomMer(VARIANTS["nommer_micro"])
        torch.save(to_published(published.state_dict()), tmp_path / "a.pth")
        network = self.fresh(tiny_segmenter, image_size=224)
        loaded, left = self.check(network, tmp_path / "a.pth", published.state_dict())
        assert len(loaded) > 50
        assert left == ["norm.weight", "norm.bias", "head.weight", "head.bias"]

    def test_of_a_peer(self, peer):
        network = UPerNet(
            build_timm("test_convnext", num_classes=0), num_classes=3, decoder_channels=8
        )
        _, left = self.check(network, peer[0], peer[1].network.state_dict())
        assert left == ["head.norm.weight", "head.norm.bias", "head.fc.weight", "head.fc.bias"]

    def test_a_position_embedding_of_another_size_is_resampled(self, saved, tiny_segmenter):
        network = self.fresh(tiny_segmenter, image_size=40)
        assert network.backbone.stages[2].pos_embed.shape[1:3] == (5, 5)
        load_backbone(network, saved[0])
        assert network.backbone.stages[2].pos_embed.shape[1:3] == (5, 5)
        assert network.backbone.config.img_size == (40, 40)

    def test_another_architecture_is_refused(self, saved, peer, tiny_segmenter):
        with pytest.raises(
            InputError,
            match=r"is another network, with network timm:test_convnext \(now a NomMer\)",
        ):
            load_backbone(self.fresh(tiny_segmenter), peer[0])
        with pytest.raises(InputError, match=r"patch_size 2 \(now 4\)"):
            load_backbone(self.fresh(tiny_segmenter, image_size=224), saved[0])
