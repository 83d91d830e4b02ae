"""Folders that are no classes are refused, and those that are classes never."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from nommer.data.formats.classification import read_classification
from nommer.data.formats.find import find_task
from nommer.data.formats.masks import read_mask_folders
from nommer.data.formats.source import Source
from nommer.data.formats.unread import find_unread
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


def lay(root, *folders, telling=False, **options):
    """Six numbered pictures in every folder."""
    for folder in folders:
        for number in range(6):
            name = f"{folder.replace('/', '-')} {number}" if telling else f"{number:03}"
            save(root / folder / f"{name}.png", seed=number, **options)


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("mask", ["seg", "map", "CameraSeg"])
def test_masks_in_colour_of_any_name_are_no_class(tmp_path, mask, ending):
    palette = np.array([[0, 0, 0], [128, 64, 128], [0, 255, 64]], np.uint8)
    lay(tmp_path, "rgb", size=(160, 128))
    for number in range(6):
        (tmp_path / mask).mkdir(exist_ok=True)
        values = np.zeros((128, 160), int)
        values[16:80, 16 + number : 120] = 1 + number % 2
        Image.fromarray(palette[values]).save(tmp_path / mask / f"{number:03}.{ending}")
    refused(tmp_path, f"{mask} holds flat-coloured images of a few values")


def test_a_folder_of_masks_that_shares_numbers_is_no_class(tmp_path):
    lay(tmp_path, "frames", "masks")
    refused(tmp_path, "frames and masks hold 6 files of the same names")


def test_masks_beside_the_images_of_class_folders_are_told(tmp_path):
    for folder in ("benign", "malignant"):
        for number in range(3):
            save(tmp_path / folder / f"{folder} ({number}).png", seed=number)
            save(tmp_path / folder / f"{folder} ({number})_mask.png", mode="L", values=2)
    refused(tmp_path, "benign: holds images beside which lie others called _mask")


@pytest.mark.parametrize(
    ("folders", "reason"),
    [
        (["cat/train", "cat/val", "dog/train", "dog/val"], "train, val, which are splits"),
        (["train_cats", "test_cats"], "test_cats and train_cats look like splits"),
        (["trainA", "testA"], "testA and trainA look like splits"),
        (["DET-train", "DET-val"], "DET-train and DET-val look like splits"),
    ],
)
def test_splits_in_the_place_of_classes_are_told(tmp_path, folders, reason):
    lay(tmp_path, *folders, telling=True)
    refused(tmp_path, reason)


@pytest.mark.parametrize(
    "folders",
    [["mask", "no_mask"], ["training_shoes", "test_tubes"], ["trains", "valve"], ["a", "b"]],
)
def test_classes_of_such_names_are_classes(tmp_path, folders):
    lay(tmp_path, *folders)
    assert read_classification(tmp_path).class_names == tuple(sorted(folders))


def test_drawings_beside_photographs_are_classes(tmp_path):
    lay(tmp_path, "photo")
    for number in range(6):
        save(tmp_path / "drawing" / f"{number}.png", size=(50 + number, 32))
        with Image.open(tmp_path / "drawing" / f"{number}.png") as image:
            image.convert("P", colors=8).convert("RGB").save(image.filename)
    assert read_classification(tmp_path).class_names == ("drawing", "photo")


TOOLS = [
    ("x.json", '[{"original_width": 4, "label": [{"rectanglelabels": ["cat"]}]}]', "Label Studio"),
    ("x.csv", 'image,label\na,"[{""rectanglelabels"": [""cat""]}]"\n', "Label Studio"),
    ("x.json", '[{"Labeled Data": "a.jpg", "Label": {}}]', "Labelbox"),
    ("x.json", '{"instances": [{"className": "cat"}]}', "SuperAnnotate"),
    ("x.json", '[{"data_units": {}}]', "Encord"),
    ("x.json", '{"label_classes": [], "images": []}', "Hasty"),
    ("x.json", '{"annotations": [{"label": "a", "coordinates": []}]}', "Dataloop"),
    ("x.json", '[{"task_id": "1", "response": {}}]', "Scale"),
    ("deep/er/x.json", '{"item": {}, "annotations": [{"bounding_box": {}}]}', "V7 Darwin"),
    ("x.manifest", '{"source-ref": "s3://a"}', "SageMaker"),
    ("x.odgt", '{"ID": "a", "gtboxes": []}', "CrowdHuman"),
    ("x.jsonl", '{"suffix": "<loc0001>"}', "PaliGemma"),
    ("x.jsonl", '{"image_url": "a", "label": [{"topX": 0.1}]}', "Azure ML"),
    ("x.jsonl", '{"picture": "a", "label": [{"topX": 0.1}]}', "a tool that is not known"),
    ("x.csv", "TRAIN,gs://a.jpg,cat,0,0,,,1,1,,\n", "AutoML"),
    ("x.csv", "cat,1,2,3,4,a.jpg,40,32\ndog,1,2,3,4,b.jpg,40,32\n", "makesense.ai"),
    ("first/x.csv", "index,shape-type,vertex-index\n", "napari"),
    ("first/x.xml", "<Annotations><Annotation Id='1'><Region/></Annotation>", "Aperio"),
    ("first/x.xml", "<ASAP_Annotations></ASAP_Annotations>", "ASAP"),
    ("first/x.geojson", '{"features": [{"geometry": {}}]}', "QuPath"),
    ("first/first000_seg.npy", "", "Cellpose"),
    ("first/x.roi", "Iout", "ImageJ"),
    ("first/gt/gt.txt", "1,1,912,484,97,109,1,1,1\n1,2,912,484,97,109,1,1,1\n", "MOT"),
    ("first/x.txt", "684,8,273,116,0,0,0,0\n684,8,273,116,0,0,0,0\n", "VisDrone"),
    (
        "first/x.txt",
        f"gsd:1\n{'1 2 3 4 5 6 7 8 ship 0' + chr(10)}{'1 2 3 4 5 6 7 8 ship 1'}",
        "DOTA",
    ),
    ("first/x.txt", f"{'Car ' + ' '.join('12345678901234')}\nCar{' 1.5' * 14}\n", "KITTI"),
    ("split/wider_face_train_bbx_gt.txt", "a.jpg\n1\n1 2 3 4 0 0 0 0 0 0\n", "WIDER FACE"),
]


@pytest.mark.parametrize(("name", "text", "tool"), TOOLS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_labels_of_tools_beside_folders_are_told(tmp_path, name, text, tool, encoding):
    lay(tmp_path, "first", "second", telling=True)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text.replace("\n", "\r\n"), encoding=encoding)
    assert tool in (find_unread(tmp_path) or "nothing")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("about.json", '{"author": "x", "labels": ["a", "b"], "count": 12}'),
        ("counts.csv", "class,count\nfirst,6\nsecond,6\n"),
        ("first/first 0.txt", "a photograph of 3 cats\nsitting"),
        ("list.txt", "1\n2\n3\n"),
    ],
)
def test_other_files_beside_classes_are_no_labels(tmp_path, name, text):
    lay(tmp_path, "first", "second", telling=True)
    (tmp_path / name).write_text(text)
    assert {issue.severity for issue in read_classification(tmp_path).issues} <= {"note"}


def test_unknown_files_beside_every_image_are_a_problem(tmp_path):
    lay(tmp_path, "first", "second", telling=True)
    for path in list(tmp_path.rglob("*.png")):
        path.with_suffix(".ann").write_bytes(b"\0")
    told = [issue for issue in read_classification(tmp_path).issues if issue.severity == "problem"]
    assert len(told) == 1
    assert "12 of 12 images have a file .ann beside them" in told[0].what


def test_a_pipe_among_data_is_not_waited_for(tmp_path):
    lay(tmp_path, "first", "second", telling=True)
    for name in ("x.csv", "x.json", "train.txt", "first/first 0.xml", "first/x.txt"):
        os.mkfifo(tmp_path / name)
    assert read_classification(tmp_path).class_names == ("first", "second")


@pytest.mark.parametrize(
    ("names", "tool"),
    [
        (("bounding_box_train/0001_c1s1_1_0.png", "query/0001_c2s1_2_0.png"), "Market-1501"),
        (("bounding_box_mine/0001_c1s1_1_0.png",), "Market-1501"),
        (("a0.png", "task-1-annotation-3-by-1-tag-Cell-0.png"), "Label Studio's brush"),
        (("images/a.png", "brush/task-1-annotation-3-by-1-tag-A b-0.png"), "Label Studio's brush"),
        (("images/a.png", "masks/task-1-annotation-3-by-1-tag-a-0.png"), "Label Studio's brush"),
        (("images/ADE/training/urban/street/ADE_train_1_seg.png",), "ADE20K in full"),
        (("training/urban/ADE_train_1.png", "training/urban/ADE_train_1_parts_1.png"), "ADE20K"),
    ],
)
def test_tools_that_are_known_by_their_images_names_are_told(tmp_path, names, tool):
    for name in names:
        save(tmp_path / name)
    with pytest.raises(InputError, match=tool):
        read_mask_folders(tmp_path) if (tmp_path / "masks").is_dir() else find_task(tmp_path)
