"""Files of labels are read and parsed once, however many formats look into them."""

import json
import sys
from collections import Counter

import pytest
from PIL import Image

from nommer.checking.check import check_data
from nommer.data.formats.source import Source
from nommer.data.image_paths import EXTENSIONS
from nommer.settings.own_parts import OwnParts
from nommer.settings.train import TrainSettings
from nommer.training.preparation import find_first

watched = []
"""A folder and the counter of its files that are opened; an audit hook cannot be taken back."""


@pytest.fixture(scope="module", autouse=True)
def _hook():
    def count(event, arguments):
        if watched and event == "open" and isinstance(arguments[0], str):
            folder, opened = watched[-1]
            if arguments[0].startswith(folder):
                opened[arguments[0].removeprefix(f"{folder}/")] += 1

    sys.addaudithook(count)


@pytest.fixture
def opened(tmp_path):
    """Return a count of how often each file of labels is opened from here on."""
    counter = Counter()
    watched.append((str(tmp_path / "data"), counter))
    yield counter
    watched.pop()


@pytest.fixture
def images(tmp_path):
    """Eight images in a folder of the data."""

    def write(*folders):
        for number in range(8):
            folder = tmp_path / "data" / folders[number % len(folders)]
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 32), (number * 9, 0, 99)).save(folder / f"{number}.png")
        return tmp_path / "data"

    return write


def table(images):
    root = images("p")
    rows = [f"p/{number}.png,{'ab'[number % 2]}" for number in range(8)]
    (root / "train.csv").write_text("\n".join(["path,label", *rows[:6]]))
    (root / "val.csv").write_text("\n".join(["path,label", *rows[6:]]))
    return root


def several_classes(images):
    root = images("p")
    kinds = ("a", "b", "a;b", "b;c", "c")
    rows = [f"p/{number}.png,{kinds[number % 5]}" for number in range(8)]
    (root / "labels.csv").write_text("\n".join(["path,labels", *rows]))
    return root / "labels.csv"


def box_table(images):
    root = images("train")
    rows = [f"{number}.png,40,32,a,2,2,20,20" for number in range(8)]
    head = "filename,width,height,class,xmin,ymin,xmax,ymax"
    (root / "train/_annotations.csv").write_text("\n".join([head, *rows]))
    return root


def coco(images):
    root = images("train", "val")
    (root / "annotations").mkdir()
    for start, split in enumerate(("train", "val")):
        numbers = range(start, 8, 2)
        content = {
            "images": [
                {"id": n, "file_name": f"{n}.png", "width": 40, "height": 32} for n in numbers
            ],
            "annotations": [
                {"id": n, "image_id": n, "category_id": 1, "bbox": [2, 2, 9, 9], "area": 81}
                for n in numbers
            ],
            "categories": [{"id": 1, "name": "a"}],
        }
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(content))
    return root


def labelme(images):
    root = images(".")
    for number in range(8):
        shape = {"label": "a", "points": [[2, 2], [20, 20]], "shape_type": "rectangle"}
        content = {"shapes": [shape], "imagePath": f"{number}.png", "imageData": "AAAA"}
        (root / f"{number}.json").write_text(json.dumps(content))
    return root


def voc(images):
    root = images(".")
    box = "<xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax>"
    for number in range(8):
        item = f"<object><name>a</name><bndbox>{box}</bndbox></object>"
        (root / f"{number}.xml").write_text(f"<annotation>{item}</annotation>")
    return root


def yolo(images):
    root = images("train/images", "val/images")
    for number in range(8):
        folder = root / ("train", "val")[number % 2] / "labels"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_text("0 .5 .5 .4 .4\n")
    (root / "data.yaml").write_text("names: [a]\ntrain: train/images\nval: val/images\n")
    return root


def masks(images):
    root = images("images")
    (root / "masks").mkdir()
    for number in range(8):
        mask = Image.new("L", (40, 32))
        mask.paste(1, (0, 0, 20, 32))
        mask.save(root / f"masks/{number}.png")
    (root / "classes.yaml").write_text("classes: [a, b]")
    return root


def hugging_face(images):
    datasets = pytest.importorskip("datasets")
    root = images("made")
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"])
    )
    files = [str(root / f"made/{number}.png") for number in range(8)]
    made = {"image": files, "label": [number % 2 for number in range(8)]}
    rows = datasets.Dataset.from_dict(made, features=features)
    rows.train_test_split(0.25).save_to_disk(str(root / "saved"))
    return root / "saved"


LAYOUTS = (table, several_classes, box_table, coco, labelme, voc, yolo, masks, hugging_face)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("verb", ["check", "train"])
def test_every_file_of_labels_is_opened_once(layout, verb, images, opened, tmp_path):
    root = layout(images)
    opened.clear()
    if verb == "check":
        result = check_data(root, classes=None, out=tmp_path / "out", overwrite=False)
        assert result.code < 2
    else:
        find_first(TrainSettings(data=root, out=tmp_path / "out"), OwnParts())
    labels = {name: times for name, times in opened.items() if not is_picture(name)}
    assert labels
    assert set(labels.values()) == {1}, labels


def is_picture(name):
    return any(name.endswith(ending) for ending in (*EXTENSIONS, ".arrow"))


def test_what_was_found_stays(tmp_path):
    asked = []

    def find(source, word, *, loud=False):
        asked.append((source.root, word, loud))
        return []

    source = Source(tmp_path)
    assert source.once(find, "a") is source.once(find, "a")
    assert source.once(find, "a", loud=True) is not source.once(find, "a")
    assert Source.of(source) is source
    assert Source.of(tmp_path).once(find, "a") == []
    assert asked == [(tmp_path, "a", loud) for loud in (False, True, False)]
