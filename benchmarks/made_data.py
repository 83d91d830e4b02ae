"""Make data of every task, so small that a training on them takes seconds."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def draw(seed: int) -> tuple[Image.Image, Image.Image, tuple[int, int, int, int]]:
    """Return an image with a disc, its mask, and the disc's box (x, y, width, height)."""
    noise = np.random.default_rng(seed)
    image = Image.fromarray(noise.integers(80, 160, (40, 48, 3)).astype(np.uint8))
    mask, side = Image.new("L", image.size), 16
    x, y = int(noise.integers(0, 48 - side)), int(noise.integers(0, 40 - side))
    ImageDraw.Draw(image).ellipse((x, y, x + side, y + side), fill=(200, 60, 60))
    ImageDraw.Draw(mask).ellipse((x, y, x + side, y + side), fill=1)
    return image, mask, (x, y, side, side)


def make_data(root: Path) -> dict[str, Path]:
    """Data of every task: 18 (of objects and masks 9) images to learn from and 6 to validate on."""
    for split, count in (("train", 18), ("val", 6)):
        for number in range(count):
            image, mask, _ = draw(number + 100 * len(split))
            folder = root / "classification" / split / ("red", "plain")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (image if number % 2 == 0 else image.convert("L").convert("RGB")).save(
                folder / f"{number}.png"
            )
            if number < 9:
                for kind, picture in (("images", image), ("masks", mask)):
                    (root / "segmentation" / kind / split).mkdir(parents=True, exist_ok=True)
                    picture.save(root / "segmentation" / kind / split / f"{number}.png")
    classes = [{"name": "ground", "value": 0}, {"name": "disc", "value": 1}]
    (root / "segmentation" / "classes.yaml").write_text(json.dumps({"classes": classes}))
    for split, count in (("train", 9), ("val", 6)):
        make_objects(root / "detection", split, count)
    return {task: root / task for task in ("classification", "segmentation", "detection")}


def make_objects(root: Path, split: str, count: int) -> None:
    """Write one split of COCO's layout."""
    (root / f"{split}2017").mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        image, _, box = draw(number + 100 * len(split))
        image.save(root / f"{split}2017" / f"{number}.png")
        images.append({"id": number + 1, "file_name": f"{number}.png", "width": 48, "height": 40})
        sizes = {"bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        annotations.append({"id": number + 1, "image_id": number + 1, "category_id": 1, **sizes})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "disc"}],
    }
    (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
