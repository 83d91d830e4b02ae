"""Whole files: from pixels to answers in another runtime, as the model answers."""

import json

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from nommer import InputError, load
from nommer.backbone.network import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.data.box_transforms import BoxPreprocessing
from nommer.exporting import whole as module
from nommer.exporting.capture import capture, describe
from nommer.exporting.export import Captured, write_onnx
from nommer.exporting.whole import compare_whole, make_whole, write_whole
from nommer.models.detection import Detector
from nommer.models.rcnn import RCNN
from nommer.models.whole import WholeFile
from nommer.serving.model import Options, Picture
from nommer.serving.models import name_and_source, open_models
from nommer.settings.export import ExportSettings
from nommer.tasks.registry import task_of


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, noisy):
    """Image files of several sizes, one of them longer than four times its width."""
    folder = tmp_path_factory.mktemp("pictures")
    sizes = [(90, 70), (64, 110), (40, 33), (300, 60)]
    for number, size in enumerate(sizes):
        colour = (200 - 40 * number, 60 + 30 * number, 90)
        noisy(colour, size=size, seed=number).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def masked():
    """A micro detector with masks that answers with a few objects."""
    torch.manual_seed(0)
    network = RCNN(
        NomMer(VARIANTS["nommer_micro"]), num_classes=2, fpn_channels=8, box_channels=16, masks=True
    )
    for stage in network.roi_heads.stages:
        torch.nn.init.normal_(stage.predictor.cls_score.weight)
    preprocessing = BoxPreprocessing(short_side=80, long_side=160)
    return Detector(
        network, class_names=("cell", "ring"), category_ids=(3, 7), preprocessing=preprocessing
    ).eval()


def written(model, folder, *, opset=18):
    """The whole file of a model, and the network inside it."""
    size = task_of(model).exporting.image_size(model, dynamic=module.whole_of(model).any_size)
    captured = Captured(*capture(model, size, whole=True), opset)
    write_onnx(captured, describe(model, size), folder / "model.onnx")
    write_whole(model, size, folder / "model.onnx", folder / "whole.onnx")
    return folder / "whole.onnx", size


@pytest.fixture(scope="module")
def classifier(tiny_classifier):
    return tiny_classifier()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, classifier, unchecked_shapes):
    folder = tmp_path_factory.mktemp("whole")
    with unchecked_shapes():
        return written(classifier, folder)


def test_a_classifier_answers_as_before(whole, classifier, pictures):
    file, _ = whole
    report = compare_whole(classifier, WholeFile.open(file, threads=1), pictures, None, 0.01)
    assert report.passed
    assert (report.images, report.same) == (4, 4)
    assert report.largest_difference < 2e-3  # one of 255 steps in a few pixels


def test_the_file_is_read_by_older_runtimes_and_tells_of_itself(whole):
    file, _ = whole
    proto = onnx.load(str(file))
    assert (proto.ir_version, proto.opset_import[0].version) == (8, 18)
    onnx.checker.check_model(proto)
    with pytest.raises(InputError, match="is a whole file"):
        load(file)
    description = WholeFile.open(file).description
    assert description.class_names == ("blue", "green", "red")
    assert description.outputs == ("probabilities", "class_ids")


def test_images_of_one_size_are_a_batch_and_the_server_takes_them(whole, noisy):
    file, _ = whole
    (model,) = open_models([f"colours={file}"], threads=1, device="cpu").values()
    pictures = [Picture(str(n), noisy((200, 60 * n, 60), seed=n), Options(top=1)) for n in range(3)]
    assert len({model.group(picture) for picture in pictures}) == 1
    together = model.answer(pictures)
    alone = [model.answer([picture])[0] for picture in pictures]
    for one, other in zip(together, alone, strict=True):
        assert one.source == other.source
        assert np.allclose(one.probabilities, other.probabilities, atol=1e-6)
    with pytest.raises(InputError, match="no network to look into"):
        model.explain(pictures[0], [])


def test_a_file_that_answers_otherwise_is_not_delivered(
    whole, classifier, tiny_classifier, pictures, tmp_path
):
    file, size = whole
    (tmp_path / "model.onnx").write_bytes((file.parent / "model.onnx").read_bytes())
    with pytest.raises(InputError, match="no model was delivered"):
        make_whole(tiny_classifier(seed=5), size, pictures, tmp_path, opened=None, max_drop=0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.json"]
    assert not json.loads((tmp_path / "whole.json").read_text())["passed"]


@pytest.mark.slow
def test_a_segmenter_answers_as_before(tiny_segmenter, pictures, tmp_path, unchecked_shapes):
    model = tiny_segmenter(short_side=64)
    with unchecked_shapes():
        file = WholeFile.open(written(model, tmp_path)[0], threads=1)
    report = compare_whole(model, file, pictures, None, 0.01)
    assert report.share > 0.99
    (found,) = file.answer([("a", Image.open(pictures[0]).convert("RGB"))])
    assert found.labels.shape == (70, 90)


@pytest.mark.slow
def test_a_detector_answers_with_masks_as_before(masked, pictures, tmp_path, unchecked_shapes):
    with unchecked_shapes():
        file = WholeFile.open(written(masked, tmp_path)[0], threads=1)
    report = compare_whole(masked, file, pictures, None, 0.01)
    assert report.answers > 20
    assert report.share > 0.97
    image = Image.open(pictures[0]).convert("RGB")
    (expected,) = masked.predict([image])
    (found,) = file.answer([("a", image)])
    assert len(found.masks) == len(found)
    pairs = [(expected.mask(index), found.mask(index)) for index in range(min(5, len(found)))]
    assert np.mean([(one == other).mean() for one, other in pairs]) > 0.99
    quiet = file.answer([("a", image)], pixels=False)[0]
    assert quiet.masks is None
    assert np.array_equal(quiet.boxes, found.boxes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"opset": 17}, "--opset must be from 18 to 23, got 17"),
        ({"opset": 24}, "--opset must be from 18 to 23"),
        ({"opset": 20, "format": "torch_export"}, "--opset is for --format onnx only"),
        ({"whole": True, "format": "torch_export"}, "--whole is for --format onnx only"),
        ({"whole": True, "dynamic_size": True}, "--dynamic-size: a whole file takes"),
    ],
)
def test_options_that_do_not_go_together(options, said):
    with pytest.raises(InputError, match=said):
        ExportSettings("run", **options)


@pytest.mark.parametrize(
    ("text", "name", "source"),
    [
        ("runs/cells/export/model.onnx", "cells", "runs/cells/export/model.onnx"),
        ("nommer_nano", "nommer_nano", "nommer_nano"),
        ("mine=runs/cells", "mine", "runs/cells"),
        ("a.onnx", "a", "a.onnx"),
        ("model.onnx", "model", "model.onnx"),
    ],
)
def test_models_are_called_by_what_tells(text, name, source):
    assert name_and_source(text) == (name, source)
