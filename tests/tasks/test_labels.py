"""Answers as data: what was answered is what `check` accepts and `train` reads."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from faster_coco_eval.core import mask as coco_masks
from PIL import Image
from scipy import ndimage

import nommer
from nommer.data.formats.source import Source
from nommer.models.storage import save_model
from nommer.predictions import Classification, Failure
from nommer.settings.rcnn import RCNNProtocol
from nommer.tasks.classification.labels import FolderLabels
from nommer.tasks.registry import task_for


@pytest.fixture(scope="module")
def images(tmp_path_factory, noisy):
    """Two images of one name in different folders, one beside them, one that is cut."""
    root = tmp_path_factory.mktemp("images")
    (root / "deep").mkdir()
    for number, name in enumerate(("a.png", "deep/a.png", "b ü.jpg")):
        noisy((90 * number, 200, 30), size=(40, 30 + number), seed=number).save(root / name)
    (root / "cut.png").write_bytes((root / "a.png").read_bytes()[:200])
    return root


@pytest.fixture(scope="module")
def predicted(tmp_path_factory, images):
    """Answer the images by a model on disk, and as data in some form."""

    def predict(model, **options):
        root = tmp_path_factory.mktemp("predicted")
        save_model(root / "model", model, metrics={}, version="0")
        result = nommer.predict(
            root / "model", images, out=root / "out", as_data=root / "data", **options
        )
        checked = nommer.check(root / "data", out=root / "check")
        source = Source(root / "data")
        read = task_for(source).data.read(source)
        told = json.loads((root / "data" / "as_data.json").read_text())
        answers = {a.source: a for a in result.predictions if not isinstance(a, Failure)}
        samples = {told["images"][read.name_of(s.path)]: s for s in read.samples()}
        assert (
            set(samples)
            == set(answers)
            == {str(images / name) for name in ("a.png", "deep/a.png", "b ü.jpg")}
        )
        assert list(told["without_answer"]) == [str(images / "cut.png")]
        return SimpleNamespace(
            root=root, checked=checked, data=read, answers=answers, samples=samples
        )

    return predict


@pytest.fixture(scope="module")
def detector(tiny_detector):
    """A detector whose data knew its classes by 3 and 7."""
    protocol = RCNNProtocol(mask_threshold=0.4)
    return tiny_detector(("ring", "cell"), masks=True, protocol=protocol)


def largest_part(mask):
    """The part of a mask whose outline encloses most, filled."""
    (numbered, count), all_around = ndimage.label(mask), np.ones((3, 3))
    parts = [ndimage.binary_fill_holes(numbered == n + 1, all_around) for n in range(count)]
    return max(parts, key=np.sum)


@pytest.mark.parametrize(
    ("form", "scored"), [("coco", False), ("yolo", False), ("yolo", True), ("voc", False)]
)
def test_objects_come_back_as_they_were_answered(predicted, detector, form, scored):
    found = predicted(detector, as_form=form, confidences=scored, most=6)
    assert found.checked.task == "detection"
    assert not [finding for finding in found.checked.findings if finding.done == "dropped"]
    by_name = {"coco": [3, 7], "yolo": [3, 7], "voc": [1, 2]}
    assert list(found.data.category_ids) == by_name[form], "VOC knows names alone"
    for source, answer in found.answers.items():
        objects = found.samples[source].objects
        assert len(answer) == len(objects) > 0
        names = [found.data.class_names[label] for label in objects.labels]
        assert names == [answer.class_names[label] for label in answer.labels]
        if form != "yolo":
            assert np.allclose(objects.boxes, answer.boxes, atol=1e-3)
        if form == "voc":
            continue
        for index, mask in enumerate(objects.masks):
            pixels = coco_masks.decode({"size": list(answer.size), "counts": mask}).astype(bool)
            expected = answer.mask(index)
            expected = largest_part(expected) if form == "yolo" else expected
            assert (pixels == expected).all()


def test_boxes_alone_and_confidences_in_yolo(predicted, tiny_detector):
    model = tiny_detector(("cell", "ring"))
    plain = predicted(model, as_form="yolo", most=6)
    for source, answer in plain.answers.items():
        assert np.allclose(plain.samples[source].objects.boxes, answer.boxes, atol=1e-3)
    scored = predicted(model, as_form="yolo", confidences=True, most=6)
    lines = (scored.root / "data" / "labels" / "train" / "a.txt").read_text().splitlines()
    (first,) = (
        one for source, one in scored.answers.items() if scored.samples[source].path.stem == "a"
    )
    assert [float(line.split()[-1]) for line in lines] == pytest.approx(first.scores, abs=1e-6)
    assert {int(line.split()[0]) for line in lines} <= {3, 7}
    for source, answer in scored.answers.items():
        assert np.allclose(scored.samples[source].objects.boxes, answer.boxes, atol=1e-3)


def test_scores_stay_in_coco(predicted, detector):
    found = predicted(detector, most=3)
    content = json.loads((found.root / "data" / "annotations" / "instances_train.json").read_text())
    scores = [entry["score"] for entry in content["annotations"]]
    assert scores == [score for a in found.answers.values() for score in a.scores.tolist()]


@pytest.fixture(scope="module")
def classifier(tiny_classifier, images):
    """A classifier whose answers to the images differ."""
    model = tiny_classifier()
    files = [images / name for name in ("a.png", "deep/a.png", "b ü.jpg")]
    with torch.no_grad():
        scores = model(torch.stack([model.prepare(file) for file in files]))
        last = [m for m in model.network.modules() if isinstance(m, torch.nn.Linear)][-1]
        last.bias -= scores.mean(0)
    return model


def test_classes_as_folders(predicted, classifier):
    found = predicted(classifier)
    assert found.checked.task == "classification"
    for source, answer in found.answers.items():
        sample = found.samples[source]
        assert found.data.class_names[sample.label] == answer.name == sample.path.parent.name


def test_pixels_as_masks(predicted, tiny_segmenter, images):
    model = tiny_segmenter()
    found = predicted(model)
    assert (found.checked.task, found.data.class_names) == ("segmentation", model.class_names)
    for source, sample in found.samples.items():
        (answer,) = model.predict(source)
        with Image.open(sample.mask) as mask:
            assert np.array_equal(np.asarray(mask), answer.labels)


def test_answers_of_several_classes_as_a_table(predicted, tiny_classifier):
    model = tiny_classifier()
    model.threshold = 0.3
    found = predicted(model)
    assert found.checked.task == "multi-label classification"
    for source, answer in found.answers.items():
        labels = found.samples[source].classes
        assert tuple(found.data.class_names[label] for label in labels) == answer.chosen


def test_answers_are_trained_on(predicted, detector):
    found = predicted(detector, most=3)
    size = {"short_side": 32, "long_side": 64, "fpn_channels": 8, "box_channels": 16}
    result = nommer.train(
        data=found.root / "data",
        out=found.root / "run",
        model="nommer_micro",
        epochs=1,
        batch_size=2,
        workers=0,
        device="cpu",
        val_fraction=0.34,
        detection=size,
    )
    assert result.model.class_names == ("ring", "cell")
    assert result.model.category_ids == (3, 7)


def test_results_are_no_data_and_labels_are_not_overwritten(predicted, classifier, images):
    found = predicted(classifier)
    with pytest.raises(nommer.InputError, match=r"out: holds results of nommer and no labelled"):
        nommer.train(data=found.root / "out", out=found.root / "run")
    options = {"out": found.root / "again", "model": found.root / "model", "images": images}
    with pytest.raises(nommer.InputError, match=r"data: exists and is not empty, and labels are"):
        nommer.predict(**options, as_data=found.root / "data")
    with pytest.raises(nommer.InputError, match=r"--as-form coco: answers of a model for class"):
        nommer.predict(**options, as_data=found.root / "new", as_form="coco")
    with pytest.raises(nommer.InputError, match=r"--as-form: says how answers are written"):
        nommer.predict(**options, as_form="coco")
    with pytest.raises(nommer.InputError, match=r"--confidences: is for --as-form yolo"):
        nommer.predict(**options, as_data=found.root / "new", confidences=True)
    assert not (found.root / "again").exists()


def test_an_image_that_is_refused_is_no_label_and_is_told(
    tmp_path, tiny_classifier, images, capsys
):
    writer = FolderLabels(tmp_path / "data", tiny_classifier())
    names = writer.model.class_names
    chances = (1.0,) + (0.0,) * (len(names) - 1)
    for name, refused in (("a.png", True), ("deep/a.png", False)):
        source = images / name
        writer.add(source, Classification(str(source), names, chances, none_of_these=refused))
    writer.finish()
    told = json.loads((tmp_path / "data" / "as_data.json").read_text())
    assert list(told["images"].values()) == [str(images / "deep/a.png")]
    assert told["without_answer"] == {str(images / "a.png"): "none of these classes"}
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of them as none of these classes (--refuse false keeps these)" in said
