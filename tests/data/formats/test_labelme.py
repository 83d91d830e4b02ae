"""labelme's JSON, tables of boxes, and mask files of single objects."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nommer.data.formats.detection import read_detection
from nommer.data.formats.find import find_task
from nommer.errors import InputError

SQUARE = [[4, 6], [20, 6], [20, 18], [4, 18]]


def shape(label="cat", points=SQUARE, kind="polygon", group=None):
    return {"label": label, "points": points, "shape_type": kind, "group_id": group}


@pytest.fixture
def write(tmp_path):
    """Images with labelme's JSON: FOLDER -> shapes of one image each."""

    def write(shapes, *, folder="", json_folder=None):
        images = tmp_path / folder
        images.mkdir(parents=True, exist_ok=True)
        files = tmp_path / (folder if json_folder is None else json_folder)
        files.mkdir(exist_ok=True)
        for number, own in enumerate(shapes):
            Image.new("RGB", (40, 32)).save(images / f"{number}.png")
            content = {"shapes": own, "imagePath": f"{number}.png", "imageWidth": 40}
            content |= {"imageHeight": 32, "imageData": None}
            (files / f"{number}.json").write_text(json.dumps(content))
        return tmp_path

    return write


def told(data):
    return [(Path(i.file).name, i.what, i.done) for i in data.issues]


def test_shapes_become_objects(write):
    shapes = [
        shape(),
        shape("dog", [[1, 2], [11, 12]], "rectangle"),
        shape("dog", [[20, 16], [25, 16]], "circle"),
        shape("dog", [[1, 1]], "point"),
        shape("cat", [[30, 2], [36, 2], [36, 8], [30, 8]], group=7),
        shape("cat", [[30, 20], [36, 20], [36, 28], [30, 28]], group=7),
    ]
    data = read_detection(write([shapes]))
    sample = data.splits["train"][0]
    assert data.class_names == ("cat", "dog")
    assert sample.objects.labels.tolist() == [0, 1, 1, 0]
    assert sample.objects.have_masks.tolist() == [True, False, True, True]
    assert sample.objects.boxes[[0, 1, 3]].tolist() == [
        [4, 6, 20, 18],
        [1, 2, 11, 12],
        [30, 2, 36, 28],
    ]
    assert sample.objects.boxes[2] == pytest.approx([15, 11, 25, 21], abs=1)
    dropped = ("0.json", "shape 4: 'dog' is a 'point', which encloses nothing", "dropped")
    assert dropped in told(data)


@pytest.mark.parametrize("places", [{}, {"folder": "images", "json_folder": "annotations"}])
def test_files_lie_beside_their_images_or_in_a_folder(write, places):
    root = write([[shape()], [shape("dog")]], **places)
    assert find_task(root) == "detection"
    assert [len(sample.objects) for sample in read_detection(root).samples()] == [1, 1]


def test_splits_and_files_that_lack_or_make_no_sense(write, tmp_path):
    for split in ("train", "val"):
        write([[shape()], [shape("dog")], [shape()]], folder=split)
    (tmp_path / "train" / "0.json").unlink()
    (tmp_path / "train" / "1.json").write_text('{"shapes": 5, "imagePath": "x"}')
    data = read_detection(tmp_path)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 3, "val": 3}
    assert told(data) == [
        ("0.json", "no such annotation file", "its image is taken to have no objects")
    ]
    assert "1.json cannot be read" in data.splits["train"][1].error


HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def save_images(folder, count=3):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (40, 32), (number, 0, 0)).save(folder / f"{number}.png")


@pytest.mark.parametrize("alone", [True, False])
def test_tables_of_boxes_are_boxes(tmp_path, alone):
    for split in ("train",) if alone else ("train", "valid"):
        save_images(tmp_path / split)
        rows = "0.png,40,32,red,1,2,11,12\n0.png,40,32,green,20,2,30,12\n1.png,40,32,red,1,2,3,4\n"
        (tmp_path / split / "_annotations.csv").write_text(HEADER + rows)
    root = tmp_path / "train" / "_annotations.csv" if alone else tmp_path
    assert find_task(root) == "detection"
    data = read_detection(root)
    assert data.class_names == ("green", "red")
    assert set(data.splits) == ({"train"} if alone else {"train", "val"})
    first = data.splits["train"][0]
    assert first.objects.boxes.tolist() == [[1, 2, 11, 12], [20, 2, 30, 12]]
    assert ("2.png", "no row is about it", "left out") in told(data)


def test_rows_without_a_header_are_those_of_retinanet(tmp_path):
    save_images(tmp_path / "images")
    rows = "images/0.png,1,2,11,12,red\nimages/1.png,,,,,\nimages/2.png,3,4,5,6,green\n"
    (tmp_path / "train.csv").write_text(rows)
    data = read_detection(tmp_path)
    assert [len(sample.objects) for sample in data.splits["train"]] == [1, 0, 1]
    assert not data.issues


@pytest.mark.parametrize(
    "header", ["image,x,y,width,height,label", "filename,class,x_center,y_center,width,height"]
)
def test_boxes_that_are_written_otherwise_are_refused(tmp_path, header):
    save_images(tmp_path)
    (tmp_path / "boxes.csv").write_text(f"{header}\n0.png,1,2,3,4,cat\n")
    for root in (tmp_path, tmp_path / "boxes.csv"):
        assert find_task(root) == "detection"
        with pytest.raises(InputError, match=r"a table of boxes .* boxes are read from filename"):
            read_detection(root)


@pytest.mark.parametrize("parent", ["", "stage1_train"])
def test_masks_of_single_objects_are_read_as_kaggle_has_them(tmp_path, parent):
    for number in range(3):
        folder = tmp_path / parent / f"id{number}"
        save_images(folder / "images", 1)
        (folder / "masks").mkdir()
        for n in range(number):
            mask = np.zeros((32, 40), np.uint8)
            mask[2 + 8 * n : 8 + 8 * n, 4:10] = 255
            Image.fromarray(mask).save(folder / "masks" / f"{n}.png")
    assert find_task(tmp_path) == "detection"
    data = read_detection(tmp_path)
    assert [len(sample.objects) for sample in data.samples()] == [0, 1, 2]
    assert data.samples()[2].objects.boxes.tolist() == [[4, 2, 10, 8], [4, 10, 10, 16]]
    assert data.has_masks
    assert not data.issues
