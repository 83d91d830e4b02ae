"""Layouts of label tools and data sets as they come: read, or refused with the tool's name."""

import contextlib
import json
import shutil
import socket

import numpy as np
import pytest
from PIL import Image

import nommer
from nommer.data.formats.find import find_task
from nommer.data.formats.source import Source
from nommer.data.images import ImageError, decode
from nommer.errors import InputError
from nommer.settings.labels import LabelOptions
from nommer.tasks.registry import task_for

BOX = (8, 10, 20, 16)
SIZE = (64, 48)


def write(root, files):
    """Write images ("image"), masks (arrays), text, and all else as JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str) and content == "image":
            pixels = np.random.default_rng(len(name)).integers(60, 200, (*SIZE[::-1], 3), np.uint8)
            Image.fromarray(pixels).save(path)
        elif isinstance(content, np.ndarray):
            Image.fromarray(content).save(path)
        elif isinstance(content, str):
            path.write_text(content)
        else:
            path.write_text(json.dumps(content))
    return root


def mask(*values):
    pixels = np.zeros(SIZE[::-1], np.uint8)
    for place, value in enumerate(values):
        pixels[10:26, 2 + 16 * place : 12 + 16 * place] = value
    return pixels


def coco(*names, **places):
    places = places or {"bbox": list(BOX), "area": BOX[2] * BOX[3], "iscrowd": 0}
    sizes = {"width": SIZE[0], "height": SIZE[1]}
    return {
        "images": [{"id": n, "file_name": name, **sizes} for n, name in enumerate(names)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, **places} for n in range(2)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def images(pattern, *names):
    return {pattern.format(name): "image" for name in names or ("a", "b")}


def voc(name):
    return (
        f"<annotation><filename>{name}.jpg</filename><size><width>64</width><height>48</height>"
        "<depth>3</depth></size><object><name>cat</name><bndbox><xmin>8</xmin><ymin>10</ymin>"
        "<xmax>28</xmax><ymax>26</ymax></bndbox></object></annotation>"
    )


VOC = {f"{name}.xml": voc(name) for name in ("a", "b")}
YOLO = "0 0.3 0.4 0.3 0.3\n"
CVAT = {
    **images("images/train/{}.jpg"),
    **{f"labels/train/{name}.txt": YOLO for name in "ab"},
    "train.txt": "data/images/train/a.jpg\ndata/images/train/b.jpg\n",
    "data.yaml": "names: {0: cat}\npath: .\ntrain: train.txt\n",
}
TURNED = {
    **images("{}.jpg"),
    "a.json": {
        "imagePath": "a.jpg",
        "shapes": [
            {
                "label": "cat",
                "points": [[8, 10], [28, 12], [26, 30], [6, 28]],
                "shape_type": "rotation",
            }
        ],
    },
    "b.json": {"imagePath": "b.jpg", "shapes": []},
}
READ = {
    "FiftyOne COCO": ({**images("data/{}.jpg"), "labels.json": coco("a.jpg", "b.jpg")}, 2),
    "FiftyOne VOC": ({**images("data/{}.jpg"), **{f"labels/{k}": v for k, v in VOC.items()}}, 2),
    "makesense VOC": (
        {**images("images/{}.jpg"), **{f"labels_x/{k}": v for k, v in VOC.items()}},
        2,
    ),
    "Objects365": (
        {
            **images("train/patch0/{}.jpg"),
            "zhiyuan_objv2_train.json": coco("images/v1/patch0/a.jpg", "images/v1/patch0/b.jpg"),
        },
        2,
    ),
    "CVAT Ultralytics YOLO": (CVAT, 2),
    "X-AnyLabeling": (TURNED, 1),
    "Penn-Fudan": (
        {
            **images("PNGImages/{}.png"),
            "PedMasks/a_mask.png": mask(1, 2),
            "PedMasks/b_mask.png": mask(1, 2),
        },
        4,
    ),
}


@pytest.mark.parametrize("tool", READ)
def test_objects_are_read_as_the_tool_wrote_them(tmp_path, tool):
    files, count = READ[tool]
    source = Source(write(tmp_path, files))
    task = task_for(source)
    assert task.name == "detection"
    data = task.data.read(source)
    assert sum(len(sample.objects) for sample in data.samples()) == count
    assert not [issue for issue in data.issues if issue.severity != "note"]


@pytest.mark.parametrize(
    "files",
    [
        {**images("data/{}.jpg"), "labels/a.png": mask(1), "labels/b.png": mask(1)},
        {"a_sat.jpg": "image", "a_mask.png": mask(1), "b_sat.jpg": "image", "b_mask.png": mask(1)},
    ],
    ids=["FiftyOne", "DeepGlobe"],
)
def test_masks_are_read_as_the_tool_wrote_them(tmp_path, files):
    source = Source(write(tmp_path, files))
    task = task_for(source)
    assert task.name == "segmentation"
    assert len(task.data.read(source).splits["train"]) == 2


def test_splits_called_by_a_year_are_splits(tmp_path):
    files = {**images("images/train2017/{}.jpg"), **images("images/val2017/{}.jpg")}
    files |= {
        f"annotations/{split}2017/{n}.png": mask(1) for split in ("train", "val") for n in "ab"
    }
    source = Source(write(tmp_path, files))
    splits = task_for(source).data.read(source).splits
    assert {split: len(part) for split, part in splits.items()} == {"train": 2, "val": 2}


PLACE = [{"label": 0, "bounding_box": [0.1, 0.1, 0.5, 0.5]}]
CHOICE = [{"image": "/data/a.jpg", "choice": "cat", "annotator": 1, "annotation_id": 1}]
DATUMARO = {"items": [{"id": "a"}], "categories": {}, "annotations": [], "attr": {}}
TAGS = {"item": {"name": "a.jpg", "slots": []}, "annotations": [{"name": "cat", "tag": {}}]}
CHAT = {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "a.jpg"}}]}]}
AZURE = {"image_url": "azureml://a.jpg", "label": "cat"}
TRACK = "<annotations><track id='0' label='cat'><box frame='0'/></track></annotations>"
RECOGNISED = [
    ("FiftyOne", "data/{}.jpg", {"labels.json": {"classes": ["cat"], "labels": {"a": PLACE}}}),
    ("FiftyOne", "data/{}.jpg", {"samples.json": {"samples": [{"x": {"_cls": "Detections"}}]}}),
    ("Label Studio", "images/{}.jpg", {"project-1.json": CHOICE}),
    ("Label Studio", "images/{}.jpg", {"x.csv": "annotation_id,choice,lead_time\n1,cat,2\n"}),
    ("Datumaro", "images/default/{}.jpg", {"annotations/default.json": DATUMARO}),
    ("V7 Darwin", "images/{}.jpg", {"annotations/a.json": TAGS}),
    ("CVAT", "images/{}.jpg", {"annotations.xml": TRACK}),
    ("Azure ML", "images/{}.jpg", {"train.jsonl": AZURE}),
    ("Global Wheat", "images/{}.jpg", {"x.csv": "image_name,BoxesString\na.jpg,1 2 3 4\n"}),
    ("vision chat", "train/{}.jpg", {"train/_annotations.jsonl": CHAT}),
    ("YOLO as Keras", "train/{}.jpg", {"train/_annotations.txt": "a.jpg 1,2,3,4,0 5,6,7,8,1\n"}),
    ("VIA", "images/{}.jpg", {"x.csv": "# CSV_HEADER = metadata_id,spatial_coordinates\n"}),
    ("KITTI", "images/{}.jpg", {"labels/a.txt": "Car 0 0 0" + " 1.5" * 11 + "\n"}),
    ("OIDv4 ToolKit", "train/Cat/{}.jpg", {"train/Cat/Label/a.txt": "Cat 8.0 10.0 28.0 26.0\n"}),
]


@pytest.mark.parametrize(("tool", "pattern", "files"), RECOGNISED)
def test_other_tools_are_named(tmp_path, tool, pattern, files):
    other = images("train/Dog/{}.jpg") if "Cat" in pattern else {}
    source = Source(write(tmp_path, images(pattern) | other | files))
    with pytest.raises(InputError, match=f"it holds labels of {tool}"):
        task_for(source).data.read(source)


@pytest.mark.parametrize("column", ["EncodedPixels", "rle", "segmentation", "annotation"])
def test_tables_of_run_lengths_are_named(tmp_path, column):
    write(tmp_path, {**images("train/{}.png"), "train.csv": f"id,{column}\na,1 10 40 10\n"})
    with pytest.raises(InputError, match=f"its column {column} holds run lengths of masks"):
        find_task(tmp_path)


def test_panoptic_segments_and_classes_of_whole_images_are_told(tmp_path):
    panoptic = coco("a.jpg", "b.jpg", segments_info=[])
    write(tmp_path / "p", {**images("images/{}.jpg"), "annotations/panoptic_train.json": panoptic})
    source = Source(tmp_path / "p")
    with pytest.raises(InputError, match="holds panoptic segments"):
        task_for(source).data.read(source)
    whole = coco("a.jpg", "b.jpg", rights="x")
    source = Source(write(tmp_path / "w", {**images("images/{}.jpg"), "train2018.json": whole}))
    told = [issue.what for issue in task_for(source).data.read(source).issues]
    assert "gives classes to whole images, none with a box or a mask" in told


def test_flags_of_labelme_are_told(tmp_path):
    flags = {"flags": {"cat": True, "dog": False}, "shapes": [], "imagePath": "a.jpg"}
    source = Source(write(tmp_path, {**images("{}.jpg"), "a.json": flags, "b.json": flags}))
    told = {issue.what for issue in task_for(source).data.read(source).issues}
    assert "flags cat are of the whole image, and not read" in told


KINDS = {
    "tissue images": ("label masks", "X/{}/{}"),
    "X-Image": ("X-Mask", "X/{}/{}"),
    "images_png": ("masks_png", "train/X/{}/{}"),
}


@pytest.mark.parametrize("name", KINDS)
def test_images_and_masks_inside_folders_are_no_classes(tmp_path, name):
    masks, pattern = KINDS[name]
    files = {}
    for folder in ("first", "second"):
        place = pattern.replace("X", folder)
        files |= {place.format(name, f"{n}.png"): "image" for n in "abc"}
        files |= {place.format(masks, f"{n}.png"): mask(1) for n in "abc"}
    root = write(tmp_path, files)
    source = Source(root)
    with pytest.raises(InputError, match=r"labels\.format folders"):
        task_for(source).data.read(source)
    source = Source(root, labels=LabelOptions(format="folders"))
    assert task_for(source).data.read(source).class_names == ("first", "second")


def test_classes_in_a_folder_called_images_are_pointed_out(tmp_path):
    write(tmp_path, {**images("images/cat/{}.jpg"), **images("images/dog/{}.jpg"), "x.txt": "x"})
    with pytest.raises(InputError, match=r"if these are classes, use .*images"):
        find_task(tmp_path)


def socket_at(path):
    """A socket, bound by a short name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as opened, contextlib.chdir(path.parent):
        opened.bind(path.name)


def test_sockets_and_links_to_themselves_are_files_that_cannot_be_read(tmp_path):
    root = write(tmp_path, {**images("cat/{}.png"), **images("dog/{}.png")})
    socket_at(root / "cat" / "s.png")
    for folder in (root, root / "cat"):
        (folder / "loop.png").symlink_to("loop.png")
    (root / "cat" / "up").symlink_to("..")
    source = Source(root)
    task = task_for(source)
    names = [sample.path.name for sample in task.data.read(source).samples()]
    assert sorted(names) == ["a.png", "a.png", "b.png", "b.png", "loop.png", "s.png"]
    with pytest.raises(ImageError, match="is a socket"):
        decode(root / "cat" / "s.png")
    with pytest.raises(ImageError, match="symbolic links"):
        decode(root / "cat" / "loop.png")


@pytest.mark.parametrize(
    ("files", "odd"),
    [
        (
            {**images("train/{}.jpg"), "train/_annotations.coco.json": coco("a.jpg", "b.jpg")},
            "train/x.json",
        ),
        (
            {**images("JPEGImages/{}.jpg"), **{f"Annotations/{k}": v for k, v in VOC.items()}},
            "ImageSets/Main/train.txt",
        ),
        (
            {**images("images/{}.png"), "masks/a.png": mask(1), "masks/b.png": mask(1)},
            "classes.yaml",
        ),
        ({**images("{}.jpg"), **VOC}, "b.json"),
    ],
    ids=["COCO", "VOC", "masks", "XML"],
)
def test_sockets_among_labels_are_one_sentence_or_passed_over(tmp_path, files, odd):
    source = Source(write(tmp_path, files))
    socket_at(tmp_path / odd)
    try:
        told = str(len(task_for(source).data.read(source).samples()))
    except InputError as error:
        told = str(error)
    assert told == "2" or (odd in told and "is a socket" in told)


def test_a_place_that_leads_to_itself_is_one_sentence(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="loop: no such folder"):
        nommer.check(tmp_path / "loop", out=tmp_path / "out")


@pytest.mark.parametrize("folder", ["annotations", "masks"])
def test_archives_beside_folders_are_to_be_unpacked(tmp_path, pack, folder):
    write(tmp_path / "images", images("{}.jpg"))
    pack(tmp_path / "images", tmp_path / "images.zip")
    shutil.rmtree(tmp_path / "images")
    files = {"masks/a.png": mask(1), "masks/b.png": mask(1)}
    labels = files if folder == "masks" else {"annotations/train.json": coco("a.jpg", "b.jpg")}
    source = Source(write(tmp_path, labels))
    with pytest.raises(InputError, match=r"unzip images\.zip"):
        task_for(source).data.read(source)
