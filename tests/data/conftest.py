"""Small made images whose masks are known, in any layout."""

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from tests.data.buckets import bucket, s3  # noqa: F401 - fixtures

PAINT = np.array(
    [(200, 40, 30), (40, 190, 50), (30, 40, 200), (200, 190, 40), (120, 30, 160)], np.uint8
)
"""The colour of every class in the made images."""


def make_labels(seed=0, *, size=(40, 32), classes=3):
    """(H, W) uint8 labels in blocks of 8 pixels, every class among them; size is width, height."""
    width, height = size
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, classes, (-(-height // 8), -(-width // 8)))
    blocks.flat[:classes] = np.arange(classes)
    return np.kron(blocks, np.ones((8, 8), int))[:height, :width].astype(np.uint8)


def paint(labels):
    """The image that `labels` describe."""
    return Image.fromarray(PAINT[np.minimum(labels, len(PAINT) - 1)])


@pytest.fixture(scope="session", name="make_labels")
def _make_labels():
    return make_labels


@pytest.fixture(scope="session", name="paint")
def _paint():
    return paint


@pytest.fixture(scope="session")
def write_pair():
    """Write the image of some labels, and their mask with values that `values` gives for each
    label.
    """

    def write(image, mask, labels=None, *, seed=0, values=None):
        labels = make_labels(seed) if labels is None else labels
        for path in (image, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        paint(labels).save(image)
        Image.fromarray(labels if values is None else np.asarray(values, np.uint8)[labels]).save(
            mask
        )
        return labels

    return write


@pytest.fixture
def write_layout(write_pair):
    """Write pairs NAME -> (image, mask) below a folder, each with other labels."""

    def write(root, pairs, **options):
        for seed, (image, mask) in enumerate(pairs):
            write_pair(root / image, root / mask, seed=seed, **options)
        return root

    return write


@pytest.fixture
def masked(tmp_path, write_layout):
    """Images and masks of three classes: 6 for training, 3 of validation."""
    names = {"train": range(6), "val": range(6, 9)}
    pairs = [
        (f"images/{split}/{number}.png", f"masks/{split}/{number}.png")
        for split, numbers in names.items()
        for number in numbers
    ]
    return write_layout(tmp_path / "masked", pairs)


HERD = {3: "sheep", 7: "dog"}
"""Classes of the made images with objects, by category ids with holes."""


def make_herd(counts, *, size=(40, 32)):
    """Return the content of the images of each split.

    NAME -> [(category id, (left, upper, right, lower)), ...], whole pixels.
    """
    herd = {}
    for split, count in counts.items():
        herd[split] = {}
        for number in range(count):
            rng = np.random.default_rng(len(split) * 100 + number)
            cells = rng.permutation(4)[: number % 4 if number else 3]
            places = [
                (int(cell % 2) * size[0] // 2, int(cell // 2) * size[1] // 2) for cell in cells
            ]
            herd[split][f"{split}{number}"] = [
                (3 if (number + n) % 3 else 7, (x + 1 + n, y + 2, x + 13 + n, y + 10 + n))
                for n, (x, y) in enumerate(places)
            ]
    return herd


def draw_herd(objects, *, size=(40, 32)):
    """The image of some objects."""
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    for category, (left, upper, right, lower) in objects:
        pixels[upper:lower, left:right] = PAINT[category % len(PAINT)]
    return Image.fromarray(pixels)


def polygon_of(box):
    """The corners of a box one after the other."""
    left, upper, right, lower = box
    return [left, upper, right, upper, right, lower, left, lower]


def coco_content(images, *, first_image=1, first_annotation=1, size=(40, 32), masks=True):
    """The content of a COCO file about images NAME -> objects."""
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in HERD.items()],
    }
    for image_id, (name, objects) in enumerate(images.items(), start=first_image):
        entry = {"id": image_id, "file_name": f"{name}.png", "width": size[0], "height": size[1]}
        content["images"].append(entry)
        for category, box in objects:
            sides = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            annotation = {
                "id": first_annotation + len(content["annotations"]),
                "image_id": image_id,
                "category_id": category,
                "bbox": sides,
                "area": sides[2] * sides[3],
                "iscrowd": 0,
                "segmentation": [polygon_of(box)] if masks else [],
            }
            content["annotations"].append(annotation)
    return content


def save_images(folder, images, **options):
    folder.mkdir(parents=True, exist_ok=True)
    for name, objects in images.items():
        draw_herd(objects, **options).save(folder / f"{name}.png")


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_coco(root, herd):
    """As COCO ships, captions beside the instances."""
    for split, images in herd.items():
        save_images(root / f"{split}2017", images)
        first = 100 * len(split)
        content = coco_content(images, first_image=first, first_annotation=10 * first)
        write_json(root / "annotations" / f"instances_{split}2017.json", content)
        captions = {
            "images": content["images"],
            "annotations": [{"id": 1, "image_id": first, "caption": "a herd"}],
        }
        write_json(root / "annotations" / f"captions_{split}2017.json", captions)


def write_roboflow(root, herd):
    """A folder per split, ids from 0 in each, and a category that is the group of the others."""
    for split, images in herd.items():
        folder = root / {"val": "valid"}.get(split, split)
        save_images(folder, images)
        content = coco_content(images, first_image=0, first_annotation=0)
        for category in content["categories"]:
            category["supercategory"] = "animals"
        content["categories"].insert(0, {"id": 0, "name": "animals", "supercategory": "none"})
        write_json(folder / "_annotations.coco.json", content)


def write_yolo(root, herd, *, polygons=False, size=(40, 32)):
    """`data.yaml`, `images/` and `labels/`; an image without objects has no label file."""
    names = {number: HERD.get(number, f"class {number}") for number in HERD}
    root.mkdir(parents=True, exist_ok=True)
    paths = {split: f"images/{split}" for split in herd}
    (root / "data.yaml").write_text(
        json.dumps({"path": "../datasets/herd", **paths, "names": names})
    )
    for split, images in herd.items():
        save_images(root / "images" / split, images)
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        for name, objects in images.items():
            lines = [yolo_line(category, box, size, polygons=polygons) for category, box in objects]
            if lines:
                (root / "labels" / split / f"{name}.txt").write_text("\n".join(lines) + "\n")


def yolo_line(category, box, size, *, polygons):
    (left, upper, right, lower), (width, height) = box, size
    values = [
        (left + right) / 2 / width,
        (upper + lower) / 2 / height,
        (right - left) / width,
        (lower - upper) / height,
    ]
    if polygons:
        values = [value / side for value, side in zip(polygon_of(box), size * 4, strict=True)]
    return " ".join(map(str, [category, *values]))


def voc_text(objects, *, size=(40, 32)):
    """An XML file about objects [(name, (xmin, ymin, xmax, ymax)), ...], as written."""
    entries = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
        f"<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for name, box in objects
    )
    width, height = size
    shape = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{shape}{entries}</annotation>"


def write_voc(root, herd):
    """`Annotations`, `JPEGImages` and lists; pixels are counted from 1."""
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for split, images in herd.items():
        save_images(root / "JPEGImages", images)
        (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(images))
        for name, objects in images.items():
            written = [
                (HERD[category], (box[0] + 1, box[1] + 1, *box[2:])) for category, box in objects
            ]
            (root / "Annotations" / f"{name}.xml").write_text(voc_text(written))


def write_maps(root, herd, *, size=(40, 32)):
    """`images` and 16-bit `labels` with lists; every object is of one class, its number any."""
    (root / "labels").mkdir(parents=True, exist_ok=True)
    for split, images in herd.items():
        save_images(root / "images", images)
        (root / f"{split}.txt").write_text("\n".join(images))
        for name, objects in images.items():
            values = np.zeros(size[::-1], np.uint16)
            for number, (_, (left, upper, right, lower)) in enumerate(objects):
                values[upper:lower, left:right] = 7 + 300 * number
            Image.fromarray(values).save(root / "labels" / f"{name}.png")


@pytest.fixture(scope="session")
def herd():
    """The content of made images: 6 for training, 3 of validation, 2 for tests; some are empty."""
    return make_herd({"train": 6, "val": 3, "test": 2})


@pytest.fixture(scope="session", name="coco_content")
def _coco_content():
    return coco_content


@pytest.fixture(scope="session", name="voc_text")
def _voc_text():
    return voc_text


@pytest.fixture(scope="session")
def write_herd():
    """Write a herd in any format, by its name."""
    writers = {
        "coco": write_coco,
        "roboflow": write_roboflow,
        "yolo": write_yolo,
        "yolo polygons": partial(write_yolo, polygons=True),
        "voc": write_voc,
        "maps": write_maps,
    }

    def write(root, herd, layout):
        writers[layout](root, herd)
        return root

    return write
