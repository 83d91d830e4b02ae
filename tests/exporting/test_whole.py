"""Whole files: from pixels to answers in another runtime, as the model answers."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

import nommer
from nommer import InputError, load
from nommer.backbone.network import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.data.box_transforms import BoxPreprocessing
from nommer.exporting import whole as module
from nommer.exporting.capture import capture, describe
from nommer.exporting.export import Captured, write_onnx
from nommer.exporting.float16 import write_float16
from nommer.exporting.whole import compare_whole, make_whole, write_whole
from nommer.models.decisions import Decisions
from nommer.models.detection import Detector
from nommer.models.familiarity import Familiarity, appearance, scores_and_features, statistics
from nommer.models.rcnn import RCNN
from nommer.models.storage import save_model
from nommer.models.whole import WholeFile
from nommer.models.whole_recogniser import WholeRecogniser
from nommer.predictions import Failure
from nommer.predictions.failure import NOT_FINITE
from nommer.serving.answers import as_dict
from nommer.serving.model import Look, Options, Picture
from nommer.serving.models import name_and_source, open_models
from nommer.settings.export import ExportSettings
from nommer.tasks.classification.familiar_graph import unfamiliar
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
    model = Detector(
        network, class_names=("cell", "ring"), category_ids=(3, 7), preprocessing=preprocessing
    )
    model.decisions = Decisions(
        threshold=0.4, class_thresholds=(0.3, 0.6), temperatures=(1.5, 0.8), offsets=(0.2, -0.3)
    )
    return model.eval()


def written(model, folder, *, opset=18):
    """The whole file of a model, and the network inside it."""
    size = task_of(model).exporting.image_size(model, dynamic=module.whole_of(model).any_size)
    captured = Captured(*capture(model, size, whole=True), opset)
    write_onnx(captured, describe(model, size), folder / "model.onnx")
    write_whole(model, size, folder / "model.onnx", folder / "whole.onnx")
    return folder / "whole.onnx", size


def both_served(model, file, folder):
    """The whole file and the model in PyTorch, as the server has them."""
    save_model(folder, model, metrics={}, version="0")
    return open_models([f"whole={file}", f"loaded={folder}"], threads=1, device="cpu").values()


@pytest.fixture(scope="module")
def classifier(tiny_classifier, noisy):
    """A micro classifier with a temperature, which refuses what is not noisy, by features too."""
    model = tiny_classifier()
    prepared = [model.preprocessing(noisy((90, 120, 60), seed=n)) for n in range(30)]
    images = torch.stack(prepared)
    with torch.no_grad():
        seen = appearance(images, scores_and_features(model.network, images)[1])
    known = Familiarity.fit(seen, rate=0.05)
    model.decisions = Decisions(temperatures=(0.4,), familiarity=known)
    return model


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


def test_the_server_says_of_a_classifier_what_predict_does(whole, classifier, noisy, tmp_path):
    file, _ = whole
    images = [noisy((90, 120, 60), seed=3), Image.new("RGB", (64, 40), (250, 250, 0))]
    answers = []
    for served in both_served(classifier, file, tmp_path / "model"):
        pictures = [Picture(str(n), image, Options()) for n, image in enumerate(images)]
        answers.append([as_dict(*served.answer([one]), one.options) for one in pictures])
    for one, other, expected in zip(*answers, classifier.predict(images), strict=True):
        assert one["none_of_these"] == other["none_of_these"] == expected.none_of_these
        assert [top["class"] for top in one["top"]] == [top["class"] for top in other["top"]]
        assert one["top"][0]["probability"] == pytest.approx(expected.probability, abs=2e-3)
    assert [one["none_of_these"] for one in answers[0]] == [False, True]
    for served in both_served(classifier, file, tmp_path / "again"):
        (answer,) = served.answer([Picture("1", images[1], Options(refuse=False))])
        assert answer.none_of_these is None


def test_predict_takes_the_file_in_the_place_of_the_model(whole, classifier, pictures, tmp_path):
    save_model(tmp_path / "model", classifier, metrics={}, version="0")
    answers = []
    for number, model in enumerate((whole[0], tmp_path / "model")):
        out = tmp_path / f"answers {number}"
        nommer.predict(model, [str(path) for path in pictures], out=out)
        answers.append(json.loads((out / "result.json").read_text()))
    for one, other in zip(*answers, strict=True):
        assert one["image"] == other["image"]
        assert one["none_of_these"] == other["none_of_these"]
        pairs = zip(one["top"], other["top"], strict=True)
        assert all(a["probability"] == pytest.approx(b["probability"], abs=5e-3) for a, b in pairs)
    with pytest.raises(InputError, match="does nothing"):
        nommer.predict(whole[0], [str(pictures[0])], out=tmp_path / "x", threshold=0.5)


@pytest.mark.parametrize("side", [32, 97])
def test_what_is_unfamiliar_is_so_in_a_graph(side, unchecked_shapes):
    torch.manual_seed(0)
    images = torch.randn(60, 3, side, side) * torch.linspace(0.2, 2, 60).view(-1, 1, 1, 1)
    with unchecked_shapes():
        seen = statistics(images)
        known = replace(Familiarity.fit(seen[20:40], rate=0.05), limit=8.0)
    signature = f"graph (float[batch, 3, {side}, {side}] f_seen_pixels) => (bool[batch] "
    head = '<ir_version: 8, opset_import: ["" : 18]>'
    text = f"{head} {signature}none_of_these) {{{unfamiliar(known, side)}}}"
    content = onnx.parser.parse_model(text).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"f_seen_pixels": images.numpy()})
    assert found.tolist() == known.refused(seen).tolist()
    assert 0 < found.mean() < 1


def test_the_file_is_read_by_older_runtimes_and_tells_of_itself(whole):
    file, _ = whole
    proto = onnx.load(str(file))
    assert proto.ir_version == 8
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    onnx.checker.check_model(proto)
    with pytest.raises(InputError, match="is a whole file"):
        load(file)
    description = WholeFile.open(file).description
    assert description.class_names == ("blue", "green", "red")
    assert description.outputs == ("probabilities", "class_ids", "none_of_these")


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
        model.explain(pictures[0], Look())


def test_a_file_that_answers_otherwise_is_not_delivered(
    whole, classifier, tiny_classifier, pictures, tmp_path
):
    file, size = whole
    (tmp_path / "model.onnx").write_bytes((file.parent / "model.onnx").read_bytes())
    with pytest.raises(InputError, match="no model was delivered"):
        make_whole(tiny_classifier(seed=5), size, pictures, tmp_path, opened=None, max_drop=0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.json"]
    assert not json.loads((tmp_path / "whole.json").read_text())["passed"]


def test_in_float16_it_answers_as_before(whole, classifier, pictures, tmp_path):
    (file, size), network = whole, tmp_path / "model.onnx"
    write_float16(file.parent / "model.onnx", network)
    write_whole(classifier, size, network, tmp_path / "whole.onnx")
    halved = WholeFile.open(tmp_path / "whole.onnx", threads=1)
    assert halved.description.precision == "float16"
    report = compare_whole(classifier, halved, pictures, None, 0.01)
    assert (report.images, report.same) == (4, 4)
    assert [entry.domain for entry in onnx.load(str(halved.path)).opset_import] == [""]


def test_rounded_numbers_may_not_refuse_other_images(whole, classifier, pictures, monkeypatch):
    file, known = WholeFile.open(whole[0], threads=1), classifier.decisions
    file.description = replace(file.description, precision="int8")
    report = compare_whole(classifier, file, pictures, None, 0.01)
    assert (report.same_refusals, report.passed) == (1.0, True)
    nothing_refused = replace(known, familiarity=replace(known.familiarity, limit=1e9))
    monkeypatch.setattr(classifier, "decisions", nothing_refused)
    monkeypatch.setattr(module, "_evaluate", lambda *_: ("top1", 0.5, 0.5, 4))
    report = compare_whole(classifier, file, pictures, None, 0.01)
    assert report.drop == report.needed == 0
    assert report.same_refusals < 1
    assert not report.passed


def test_rounded_numbers_may_answer_otherwise_as_far_as_it_is_allowed(
    whole, tiny_classifier, pictures, monkeypatch
):
    file, other = WholeFile.open(whole[0], threads=1), tiny_classifier(seed=5)
    file.description = replace(file.description, precision="int8")
    reports = [compare_whole(other, file, pictures, None, drop) for drop in (0.01, 1.0)]
    assert [(report.needed, report.passed) for report in reports] == [(0.99, False), (0, True)]
    assert [report.same_refusals for report in reports] == [None, None]
    nothing = [Failure("image", NOT_FINITE)]
    monkeypatch.setattr(file, "answer", lambda images, **asked: nothing)
    with pytest.raises(InputError, match="NaN or infinite, in the whole file in int8"):
        compare_whole(other, file, pictures, None, 1.0)


@pytest.mark.slow
@pytest.mark.long
def test_a_segmenter_answers_as_before(tiny_segmenter, pictures, tmp_path, unchecked_shapes):
    model = tiny_segmenter(short_side=64)
    model.decisions = Decisions(temperatures=(0.5,))
    with unchecked_shapes():
        file = WholeFile.open(written(model, tmp_path)[0], threads=1)
    report = compare_whole(model, file, pictures, None, 0.01)
    assert report.share > 0.99
    (found,) = file.answer([("a", Image.open(pictures[0]).convert("RGB"))])
    assert found.labels.shape == (70, 90)
    picture = Picture("a", Image.open(pictures[0]).convert("RGB"), Options(pixels=True))
    answers = [one.answer([picture])[0] for one in both_served(model, file.path, tmp_path / "m")]
    assert (answers[0].labels == answers[1].labels).mean() > 0.99
    assert (
        as_dict(answers[0], picture.options).keys()
        == as_dict(answers[1], Options(pixels=True)).keys()
    )


@pytest.mark.slow
@pytest.mark.long
def test_a_detector_answers_with_masks_as_before(masked, pictures, tmp_path, unchecked_shapes):
    with unchecked_shapes():
        file = WholeFile.open(written(masked, tmp_path)[0], threads=1)
    prepared = []
    for picture in pictures:  # fresh weights make much of a pixel that resizing rounds otherwise
        prepared.append(tmp_path / picture.name)
        with Image.open(picture) as image:
            image.convert("RGB").resize((120, 80)).save(prepared[-1])
    report = compare_whole(masked, file, prepared, None, 0.01)
    assert report.answers > 20
    assert report.share == 1
    assert report.largest_difference < 1e-5
    with Image.open(prepared[0]) as opened:
        image = opened.convert("RGB")
    (expected,) = masked.predict([image])
    (found,) = file.answer([("a", image)])
    assert len(found.masks) == len(found)
    pairs = [(expected.mask(index), found.mask(index)) for index in range(min(5, len(found)))]
    assert np.mean([(one == other).mean() for one, other in pairs]) > 0.99
    quiet = file.answer([("a", image)], pixels=False)[0]
    assert quiet.masks is None
    assert np.array_equal(quiet.boxes, found.boxes)
    assert len(file.answer([("a", image)], least=1.0)[0].masks) == 0
    served = list(both_served(masked, file.path, tmp_path / "m"))
    by_class = Options(threshold=(("cell", 0.65), ("ring", 0.5)))
    for options in (Options(), Options(threshold=0.65), by_class, Options(most=3, pixels=True)):
        one, other = (
            as_dict(*model.answer([Picture("a", image, options)]), options) for model in served
        )
        assert one.keys() == other.keys()
        assert abs(len(one["objects"]) - len(other["objects"])) <= 1
        tops = [[part["class"] for part in answer["objects"][:2]] for answer in (one, other)]
        assert tops[0] == tops[1]
        assert one["objects"][0]["score"] == pytest.approx(other["objects"][0]["score"], abs=5e-3)
    for least in (None, {"cell": 0.5}):
        (expected,) = masked.predict([image], threshold=least)
        (found,) = WholeRecogniser(file).predict_stream([image], threshold=least)
        assert found.thresholds == expected.thresholds
        assert abs(len(found) - len(expected)) <= 1
    with pytest.raises(InputError, match=r"threshold must be 0\.14"):
        served[0].check(Options(threshold=0.1))
    for model in served:
        with pytest.raises(InputError, match="has no class 'dog'"):
            model.check(Options(threshold=(("dog", 0.5),)))


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
