"""Data of detection and segmentation in archives, read where they lie."""

import json

import numpy as np
import pytest
from PIL import Image

from nommer.data.formats.find import find_task
from nommer.data.formats.source import Source
from nommer.tasks.data import Auditing
from nommer.tasks.registry import task_for


def found_in(root):
    """Everything that training learns from a place, without where it lies."""
    data = task_for(Source(root)).data
    read = data.audit(data.read(Source(root)), Auditing(on_bad_sample="error", training=True)).data
    samples = {
        split: [
            (sample.path.relative_to(read.root).as_posix(), read.target_of(sample))
            for sample in part
        ]
        for split, part in read.splits.items()
    }
    return find_task(root), read.class_names, samples, len(read.issues)


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("layout", ["coco", "roboflow", "yolo", "yolo polygons", "voc", "maps"])
def test_objects_are_read_from_archives_as_from_folders(
    tmp_path, pack, herd, write_herd, layout, ending
):
    folder = write_herd(tmp_path / "data", {"train": herd["train"], "val": herd["val"]}, layout)
    expected = found_in(folder)
    assert expected[0] == "detection"
    assert found_in(pack(folder, tmp_path / f"data.{ending}")) == expected


def write_object_files(root):
    """Kaggle's Data Science Bowl."""
    for number in range(3):
        for kind in ("images", "masks"):
            (root / f"id{number}" / kind).mkdir(parents=True)
        Image.new("RGB", (40, 20)).save(root / f"id{number}/images/id{number}.png")
        mask = np.zeros((20, 40), np.uint8)
        mask[2:9, 3 + number : 20] = 255
        Image.fromarray(mask).save(root / f"id{number}/masks/a.png")


def write_darknet(root):
    """YOLO 1.1 of CVAT."""
    (root / "obj_train_data").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (40, 20)).save(root / f"obj_train_data/{number}.png")
        (root / f"obj_train_data/{number}.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    names = "".join(f"data/obj_train_data/{number}.png\n" for number in range(3))
    (root / "train.txt").write_text(names)
    (root / "obj.names").write_text("red\ngreen\n")
    (root / "obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")


def write_box_table(root):
    """TensorFlow's CSV."""
    root.mkdir()
    rows = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for number in range(3):
        Image.new("RGB", (40, 20)).save(root / f"{number}.png")
        rows.append(f"{number}.png,40,20,{'cat' if number else 'dog'},1,2,11,12")
    (root / "labels.csv").write_text("\n".join(rows))


def write_labelme(root):
    """A JSON file beside each image."""
    root.mkdir()
    for number in range(3):
        Image.new("RGB", (40, 20)).save(root / f"{number}.png")
        shape = {"label": "cat", "shape_type": "rectangle", "points": [[1, 2], [11, 12]]}
        content = {"version": "5", "shapes": [shape], "imagePath": f"{number}.png"}
        content |= {"imageHeight": 20, "imageWidth": 40, "imageData": None}
        (root / f"{number}.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "write", [write_object_files, write_darknet, write_box_table, write_labelme]
)
def test_label_tools_are_read_from_zips(tmp_path, pack, write):
    write(tmp_path / "data")
    expected = found_in(tmp_path / "data")
    assert expected[0] == "detection"
    packed = pack(tmp_path / "data", tmp_path / "data.zip")
    assert found_in(packed) == expected


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_masks_are_read_from_archives_as_from_folders(tmp_path, pack, scenes, ending):
    expected = found_in(scenes)
    assert expected[0] == "segmentation"
    assert found_in(pack(scenes, tmp_path / f"data.{ending}")) == expected


@pytest.mark.parametrize("layout", ["masks", "coco"])
def test_a_folder_around_everything_is_passed_over(
    tmp_path, pack, herd, write_herd, scenes, layout
):
    folder = scenes if layout == "masks" else write_herd(tmp_path / "data", herd, layout)
    task, names, samples, _ = found_in(folder)
    packed = pack(folder, tmp_path / "data.zip", prefix="export/of/today/")
    inside = found_in(packed)
    assert inside[:2] == (task, names)
    assert {split: len(part) for split, part in inside[2].items()} == {
        split: len(part) for split, part in samples.items()
    }
    assert all(
        path.startswith("export/of/today/") for part in inside[2].values() for path, _ in part
    )


def test_class_folders_in_archives_stay_class_folders(tmp_path, pack, coloured):
    assert find_task(pack(coloured, tmp_path / "data.zip")) == "classification"
