"""Nominations of detectors.

Maps without padding, shares inside objects and in the background, pictures.
"""

import json

import numpy as np
import pytest
import torch

from nommer import NomMer
from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.variants import VARIANTS
from nommer.data.box_transforms import BoxPreprocessing
from nommer.models.detection import Detector
from nommer.models.networks import build_timm
from nommer.models.rcnn import RCNN
from nommer.nominations.images import explain_images
from nommer.predictions import Failure
from nommer.predictions.detection import SURE


@pytest.fixture
def build():
    def build(backbone=None, *, masks=False):
        torch.manual_seed(0)
        backbone = backbone or NomMer(VARIANTS["nommer_micro"])
        network = RCNN(backbone, num_classes=2, masks=masks, fpn_channels=8, box_channels=16)
        torch.nn.init.normal_(
            network.roi_heads.stages[0].predictor.cls_score.weight, std=1.5
        )  # some are sure
        preprocessing = BoxPreprocessing(short_side=40, long_side=90)
        return Detector(
            network, class_names=["a", "b"], category_ids=[1, 2], preprocessing=preprocessing
        ).eval()

    return build


@pytest.mark.parametrize("masks", [False, True])
def test_shares_inside_are_those_counted_pixel_by_pixel(build, noisy, masks):
    model, image = build(masks=masks), noisy((120, 90, 60), size=(61, 47))
    (explanation,) = explain_images(model, [image])
    found = explanation.prediction
    assert 0 < len(found) < len(model.predict(image)[0])
    assert found.scores.min() >= SURE
    height, width = model.preprocessing.size(47, 61)
    inside = np.any([found.mask(index) for index in range(len(found))], axis=0)
    assert inside.any()
    assert not inside.all()
    strides = (model.network.strides[0], model.network.strides[1])
    for block, stride in zip(explanation.maps, strides, strict=True):
        assert explanation.maps[block].shape == (-(-height // stride), -(-width // stride))
        assert explanation.probabilities[block].shape == (*explanation.maps[block].shape, 3)
        counts = np.zeros((2, 3))
        for y in range(47):
            for x in range(61):
                cell = int((y + 0.5) * height / 47) // stride, int((x + 0.5) * width / 61) // stride
                counts[int(inside[y, x]), explanation.maps[block][cell]] += 1
        for row, part in enumerate(("background", "objects")):
            expected = dict(zip(CONTEXTS, counts[row] / counts[row].sum(), strict=True))
            assert explanation.shares_inside[block][part] == pytest.approx(expected)


def test_as_json_and_as_a_picture(build, noisy):
    (explanation,) = explain_images(build(masks=True), [noisy((120, 90, 60), size=(61, 47))])
    plain = json.loads(json.dumps(explanation.to_dict()))
    assert plain["shares_inside"] == explanation.shares_inside
    assert plain["shares"] == explanation.shares
    assert len(plain["objects"]) == len(explanation.prediction)
    assert (plain["height"], plain["width"]) == (47, 61)
    figure = explanation.plot()
    names = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    assert set(names) == {"objects", "background"}
    assert figure.get_suptitle() == "image"


def test_where_nothing_is_sure_everything_is_background(build, noisy):
    model = build()
    model.network.roi_heads.stages[0].predictor.cls_score.bias.data[0] = 100.0
    (explanation,) = explain_images(model, [noisy((120, 90, 60), size=(61, 47))])
    assert len(explanation.prediction) == 0
    assert all(list(parts) == ["background"] for parts in explanation.shares_inside.values())
    explanation.plot()


def test_images_without_an_answer_are_failures(build, noisy):
    model, image = build().train(), noisy((120, 90, 60))
    first, second = explain_images(model, [image, "nowhere.png"])
    assert first.shares_inside
    assert second == Failure("nowhere.png", "file does not exist")
    assert all(module.training for module in model.modules())
    model.network.norms[0].weight.data[0] = torch.nan
    assert list(explain_images(model, [image])) == [
        Failure("image", "the model's scores are NaN or infinite")
    ]


def test_a_network_that_nominates_nothing_cannot_be_explained(build, noisy):
    with pytest.raises(ValueError, match="Detector holds no NomMer"):
        list(explain_images(build(build_timm("test_convnext", num_classes=0)), [noisy((1, 2, 3))]))
