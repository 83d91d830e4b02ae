"""Draws made data: bluish discs and reddish squares on a bright ground, with their labels.

python docs/notebooks/shapes.py data/shapes              # images/ and masks/, for segmentation
python docs/notebooks/shapes.py data/shapes --objects    # images/ and COCO's JSON, for detection
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("ground", "disc", "square")
COLOURS = (None, (70, 95, 150), (150, 80, 70))
SIDE = 64


def drawn(
    generator: np.random.Generator, most: int = 4
) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Return an image (64, 64, 3), its classes (64, 64) and its objects as COCO writes them."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    mask, objects = np.zeros((SIDE, SIDE), np.uint8), []
    image = generator.normal(205, 12, (SIDE, SIDE, 1)) + generator.normal(0, 6, 3)
    for column, row in ((16, 16), (48, 16), (16, 48), (48, 48))[:most]:
        x, y = (centre + generator.integers(-4, 5) for centre in (column, row))
        radius, label = int(generator.integers(6, 12)), int(generator.integers(0, 3))
        if not label:
            continue
        square = np.maximum(abs(rows - y), abs(columns - x)) <= radius
        inside = square if label == 2 else (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        mask[inside] = label
        colour = np.array(COLOURS[label]) + generator.uniform(-35, 35, 3)
        image[inside] = colour + generator.normal(0, 12, (inside.sum(), 1))
        box = [int(x - radius), int(y - radius), 2 * radius + 1, 2 * radius + 1]
        objects.append({"category_id": label, "bbox": box, "area": int(inside.sum()), "iscrowd": 0})
    return image.clip(0, 255).astype(np.uint8), mask, objects


def write_shapes(
    folder: Path, *, train: int = 64, val: int = 16, objects: bool = False, most: int = 4
) -> Path:
    """Write `train` and `val` images of at most `most` shapes, with labels, into `folder`."""
    generator = np.random.default_rng(0)
    for split, number in (("train", train), ("val", val)):
        images, masks = folder / "images" / split, folder / "masks" / split
        images.mkdir(parents=True, exist_ok=True)
        found: dict = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}],
        }
        for index in range(number):
            image, mask, there = drawn(generator, most)
            name = f"{index:03}.png"
            Image.fromarray(image).save(images / name)
            size = {"width": SIDE, "height": SIDE}
            found["images"].append({"id": index, "file_name": name, **size})
            for one in there:
                key = {"id": len(found["annotations"]) + 1, "image_id": index}
                found["annotations"].append(key | one)
            if not objects:
                masks.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(masks / name)
        if objects:
            (folder / "annotations").mkdir(exist_ok=True)
            target = folder / "annotations" / f"instances_{split}.json"
            target.write_text(json.dumps(found), "utf-8")
    if not objects:
        (folder / "classes.yaml").write_text(json.dumps({"classes": NAMES}), "utf-8")
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--objects", action="store_true")
    given = parser.parse_args()
    print(write_shapes(given.folder, objects=given.objects))
