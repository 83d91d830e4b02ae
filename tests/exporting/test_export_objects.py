"""Exported detectors: the same objects from another runtime, at any size."""

import copy
import json

import numpy as np
import pytest
import torch

from nommer import InputError, load
from nommer.backbone.network import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.data.box_transforms import BoxPreprocessing
from nommer.exporting.capture import left_out
from nommer.exporting.export import export_model
from nommer.exporting.parity import compare
from nommer.models.detection import Detector
from nommer.models.rcnn import RCNN
from nommer.tasks.image_size import ImageSize
from nommer.tasks.registry import task_of


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    network = RCNN(
        NomMer(VARIANTS["nommer_micro"]),
        num_classes=2,
        fpn_channels=8,
        box_channels=16,
        cascade=True,
    )
    for stage in network.roi_heads.stages:
        torch.nn.init.normal_(stage.predictor.cls_score.weight)
    preprocessing = BoxPreprocessing(short_side=80, long_side=160)
    return Detector(
        network, class_names=("cell", "ring"), category_ids=(3, 7), preprocessing=preprocessing
    ).eval()


@pytest.fixture(scope="module")
def prepared(detector, noisy):
    pictures = [
        noisy((200, 60, 60), size=(90, 70), seed=1),
        noisy((60, 90, 200), size=(110, 100), seed=2),
    ]
    return [detector.prepare(picture) for picture in pictures]


@pytest.fixture(scope="module")
def exported(tmp_path_factory, detector, prepared, unchecked_shapes):
    """The exported file and its report."""
    folder = tmp_path_factory.mktemp("exported")
    with unchecked_shapes():
        report = export_model(detector, prepared, folder, format_name="onnx")
    (file,) = folder.glob("model.*")
    return file, report


@pytest.mark.long
@pytest.mark.slow
def test_the_report_is_about_objects_in_images_of_several_sizes(exported):
    file, report = exported
    assert report.passed
    assert report.runs > 50
    assert report.within_tolerance >= 0.99 * report.runs
    assert len(report.sizes) >= 3
    written = json.loads((file.parent / "parity.json").read_text())
    assert written["passed"]
    assert "batches: one image at a time" in written["left_out"]


def test_masks_are_told_to_stay_behind(detector):
    network = RCNN(
        NomMer(VARIANTS["nommer_micro"]), num_classes=2, fpn_channels=8, box_channels=16, masks=True
    )
    masked = copy.copy(detector)
    masked._modules = detector._modules | {"network": network}
    added = set(left_out(masked, ImageSize(80, 65))) - set(left_out(detector, ImageSize(80, 65)))
    assert added == {"masks of the objects: the file finds classes and boxes"}


@pytest.mark.long
@pytest.mark.slow
def test_it_answers_as_the_model_does_at_any_size_and_says_what_it_cannot_do(
    exported, detector, prepared, noisy
):
    loaded = load(exported[0])
    assert (loaded.class_names, loaded.category_ids) == (
        detector.class_names,
        detector.category_ids,
    )
    for size in ((90, 70), (64, 120), (20, 20)):
        picture = noisy((120, 160, 40), size=size, seed=5)
        ((one,), (other,)) = (
            model.predict(picture, threshold=0.3, most=20) for model in (detector, loaded)
        )
        assert np.allclose(one.scores, other.scores, atol=1e-4)
        assert np.allclose(one.boxes, other.boxes, atol=1e-2)
        assert np.array_equal(one.labels, other.labels)
    dark = np.zeros((80, 90, 3), np.uint8)
    assert len(loaded.predict(dark, threshold=1.0)[0].scores) == 0
    for options in ({"threshold": 0.01}, {"most": 101}):
        with pytest.raises(
            InputError, match=r"answers with scores of 0.05 or more, at most 100 times"
        ):
            loaded.predict(dark, **options)
    loaded.network.detect = lambda images, **_: [
        {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}
    ]
    with pytest.raises(
        InputError, match="nothing is found in any of the images looked at; give --data"
    ):
        compare(
            loaded, loaded, prepared, task_of(detector).exporting.image_size(detector, dynamic=True)
        )
