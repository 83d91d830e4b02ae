"""Detectors on disk, and what they take over from other models."""

import json

import numpy as np
import pytest
import torch

from nommer import Classifier, InputError, NomMer
from nommer.backbone.variants import VARIANTS
from nommer.data.transforms import Preprocessing
from nommer.models.detection import Detector
from nommer.models.storage import load, load_backbone, network_of, nommer_of, save_model
from nommer.settings.rcnn import RCNNProtocol

NAMES = ("Käfer", "猫")


@pytest.fixture
def saved(tmp_path, tiny_detector):
    protocol = RCNNProtocol(anchor_ratios=(0.5, 1.5), cascade_ious=(0.4, 0.5, 0.6), most=17)
    model = tiny_detector(
        NAMES, masks=True, cascade=True, protocol=protocol, preprocessing={"short_side": 40}
    )
    save_model(tmp_path / "model", model, metrics={"box_ap": 0.5}, version="1.2.3")
    return tmp_path / "model", model


def test_a_detector_comes_back_bit_for_bit(saved, noisy):
    folder, model = saved
    loaded, image = load(folder.parent), noisy((90, 90, 90), size=(70, 50))
    assert isinstance(loaded, Detector)
    assert not loaded.training
    for name in ("class_names", "category_ids", "preprocessing"):
        assert getattr(loaded, name) == getattr(model, name)
    assert loaded.network.protocol == model.network.protocol
    (one,), (other,) = loaded.predict(image), model.predict(image)
    assert len(one) == 17
    assert np.array_equal(one.boxes, other.boxes)
    assert one.masks == other.masks


def test_a_detector_on_a_peer_comes_back_bit_for_bit(tmp_path, tiny_detector, noisy):
    model, image = tiny_detector(backbone="test_resnet"), noisy((90, 90, 90), size=(70, 50))
    save_model(tmp_path, model, metrics={}, version="1")
    (one,), (other,) = load(tmp_path).predict(image), model.predict(image)
    assert np.array_equal(one.boxes, other.boxes)
    assert one.masks is None


def test_the_description_tells_what_one_wants_to_know(saved):
    description = json.loads((saved[0] / "model.json").read_text(encoding="utf-8"))
    assert description["task"] == saved[1].task == "detection"
    assert description["class_names"] == list(NAMES)
    assert description["category_ids"] == [3, 7]
    assert description["metrics"] == {"box_ap": 0.5}
    head = description["head"]
    assert (head["masks"], head["cascade"], head["fpn_channels"], head["box_channels"]) == (
        True,
        True,
        8,
        16,
    )
    assert head["protocol"]["most"] == 17
    assert description["preprocessing"]["short_side"] == 40
    assert description["architecture"]["embed_dim"] == 16


@pytest.mark.parametrize(
    "change", [{"head": {}}, {"head": None}, {"category_ids": [1]}, {"category_ids": [1, 1]}]
)
def test_a_description_that_does_not_fit_is_refused(saved, change):
    path = saved[0] / "model.json"
    description = json.loads(path.read_text(encoding="utf-8")) | change
    del description["sha256"]
    path.write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(InputError, match=r"does not describe a model|category id"):
        load(saved[0])


def test_the_network_inside_is_the_backbone(saved):
    assert network_of(saved[1], "x") is nommer_of(saved[1], "x") is saved[1].network.backbone


@pytest.mark.parametrize("kind", ["classifier", "segmenter", "detector"])
def test_a_backbone_is_taken_over_from_every_kind_of_model(
    tmp_path, tiny_rcnn, tiny_segmenter, tiny_detector, kind
):
    torch.manual_seed(9)
    network = NomMer(VARIANTS["nommer_micro"])
    if kind == "classifier":
        names = [str(index) for index in range(network.num_classes)]
        model = Classifier(network, class_names=names, preprocessing=Preprocessing(image_size=32))
    else:
        model = tiny_segmenter(backbone=network) if kind == "segmenter" else tiny_detector(seed=9)
    save_model(tmp_path, model, metrics={}, version="1")
    into = tiny_rcnn(seed=1)
    loaded, left = load_backbone(into, tmp_path)
    source = model.network.state_dict()
    assert sorted(loaded + left) == sorted(source)
    assert {name.removeprefix("backbone.") for name in loaded} == set(into.backbone.state_dict())
    for name in loaded:
        assert torch.equal(into.backbone.state_dict()[name.removeprefix("backbone.")], source[name])


def test_another_backbone_is_refused(tmp_path, tiny_rcnn, tiny_detector):
    save_model(tmp_path, tiny_detector(), metrics={}, version="1")
    with pytest.raises(InputError, match="is another network"):
        load_backbone(tiny_rcnn("test_resnet"), tmp_path)
