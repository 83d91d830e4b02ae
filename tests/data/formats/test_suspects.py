"""Folders that are no classes are refused, and those that are classes never."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from nommer.data.formats.classification import read_classification
from nommer.data.formats.find import find_task
from nommer.data.formats.source import Source
from nommer.errors import InputError
from nommer.settings.labels import LabelOptions

TASKS = {"classification": read_classification}
FOLDERS = LabelOptions(format="folders")


def save(path, *, seed=0, size=(40, 32), mode="RGB", values=256):
    """Noise, of a few values where those are asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, values, shape, np.uint8)
    Image.fromarray(pixels).save(path)


def refused(root, reason):
    with pytest.raises(InputError, match=reason):
        TASKS[find_task(root)](root)
    assert len(read_classification(Source(root, labels=FOLDERS)).class_names) == 2


@pytest.mark.parametrize("names", ["same", "other"])
def test_images_beside_masks_of_any_name_are_no_classes(tmp_path, names):
    for number in range(6):
        save(tmp_path / "pics" / f"p{number}.png", seed=number)
        name = f"p{number}" if names == "same" else f"truth{number}"
        save(tmp_path / "answers" / f"{name}.png", seed=number, mode="L", values=3)
    refused(tmp_path, "answers holds grey or palette images of a few values")


def test_images_of_many_sizes_that_share_names_and_sizes_are_no_classes(tmp_path):
    for number in range(6):
        for folder in ("rgb", "thermal"):
            save(tmp_path / folder / f"{number}.png", seed=number, size=(40 + number, 32))
    refused(tmp_path, "rgb and thermal hold 6 files of the same names, such as 0")


def test_telling_names_are_not_shared_by_classes(tmp_path):
    for number in range(12):
        for folder in ("before", "after"):
            save(tmp_path / folder / f"house_{'abcdefghijkl'[number]}.png", seed=number)
    refused(tmp_path, "after and before hold 12 files of the same names")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("{n}.txt", "0 0.5 0.5 0.25 0.5\n"),
        ("{n}.xml", "<annotation><object><name>a</name></object></annotation>"),
        ("{n}.json", json.dumps({"objects": [{"bbox": [1, 2, 3, 4]}]})),
    ],
)
def test_files_of_boxes_beside_images_are_told(tmp_path, name, text):
    for folder in ("first", "second"):
        for number in range(3):
            save(tmp_path / folder / f"{folder}{number}.png", seed=number)
            (tmp_path / folder / name.format(n=f"{folder}{number}")).write_text(text)
    refused(tmp_path, r"label")


@pytest.mark.parametrize(
    ("name", "text", "tool"),
    [
        ("via.json", '{"_via_settings": {}}', "VIA"),
        ("x.json", '[{"image": "a", "annotations": [{"coordinates": {}}]}]', "CreateML"),
        ("p.json", '[{"annotations": [{"result": [{"from_name": "label"}]}]}]', "Label Studio"),
        (
            "annotations.xml",
            "<annotations><version>1</version><image id='0'/></annotations>",
            "CVAT",
        ),
        ("train-annotations-bbox.csv", "ImageID,XMin,XMax\n", "Open Images"),
        ("train.tfrecord", "x", "TensorFlow"),
    ],
)
def test_labels_of_tools_that_are_not_read_are_named(tmp_path, name, text, tool):
    for folder in ("first", "second"):
        save(tmp_path / folder / f"{folder}.png")
    (tmp_path / name).write_text(text)
    refused(tmp_path, f"it holds labels of {tool}")


@pytest.mark.parametrize("names", ["{n}", "image_{n:04}", "img{n}"])
def test_numbered_images_of_two_classes_are_classes(tmp_path, names):
    for seed, folder in enumerate(("cat", "dog")):
        for number in range(12):
            save(tmp_path / folder / f"{names.format(n=number)}.png", seed=99 * seed + number)
    assert find_task(tmp_path) == "classification"
    data = read_classification(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert not data.issues


def test_classes_of_drawings_alone_are_classes(tmp_path):
    for seed, folder in enumerate("xyz"):
        for number in range(5):
            save(tmp_path / folder / f"{number}.png", seed=seed, mode="L", values=2)
    assert read_classification(tmp_path).class_names == ("x", "y", "z")


def test_thumbnails_and_hidden_folders_are_left_out_and_said(tmp_path):
    for folder in ("a", "b"):
        save(tmp_path / folder / "1.png")
        save(tmp_path / folder / "@eaDir" / "1.png" / "THUMB.jpg")
    save(tmp_path / "@eaDir" / "2.jpg")
    save(tmp_path / "__MACOSX" / "a" / "1.png")
    save(tmp_path / ".c" / "1.png")
    data = read_classification(tmp_path)
    assert len(data.samples()) == 2
    assert data.class_names == ("a", "b")
    told = {issue.file.removeprefix(f"{tmp_path}/"): issue.severity for issue in data.issues}
    assert told == {
        "@eaDir": "note",
        "__MACOSX": "note",
        ".c": "problem",
        "a/@eaDir": "note",
        "b/@eaDir": "note",
    }


def test_a_flat_test_folder_beside_classes_is_left_out_and_said(tmp_path):
    for split in ("train", "val"):
        for folder in ("a", "b"):
            save(tmp_path / split / folder / "1.png")
    save(tmp_path / "test" / "9.png")
    data = read_classification(tmp_path)
    assert set(data.splits) == {"train", "val"}
    assert [(i.file, i.what, i.done) for i in data.issues] == [
        (str(tmp_path / "test"), "images without a class", "left out")
    ]


def test_names_that_are_encoded_otherwise_are_one_class(tmp_path):
    for split, name in (("train", "caf\u00e9"), ("val", "cafe\u0301")):
        save(tmp_path / split / name / "1.png")
        save(tmp_path / split / "b" / "1.png")
    data = read_classification(tmp_path)
    assert data.class_names == ("b", "caf\u00e9")
    assert sorted(sample.label for sample in data.splits["val"]) == [0, 1]
    shutil.copytree(tmp_path / "val" / "cafe\u0301", tmp_path / "train" / "cafe\u0301")
    (issue,) = read_classification(tmp_path).issues
    assert (issue.done, issue.severity) == ("taken for one class", "problem")


def test_an_archive_of_boxes_is_to_be_unpacked(tmp_path, pack):
    save(tmp_path / "data" / "images" / "1.png")
    (tmp_path / "data" / "annotations").mkdir()
    (tmp_path / "data" / "annotations" / "a.json").write_text("{}")
    archive = pack(tmp_path / "data", tmp_path / "data.zip")
    with pytest.raises(InputError, match=r"look like detection .* unpack .*data.zip first"):
        read_classification(archive)
