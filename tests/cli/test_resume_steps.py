"""A run that dies at any step goes on in a fresh process as if nothing had happened, whatever is
learned.

The segmenter and the classifier are learned by two processes, of which one dies.
"""

import json
import random

import pytest
from PIL import ImageDraw

RANDOM = ["--network.drop-path-rate=0.3", "--epochs=3", "--checkpoint-minutes=0"]
"""Something random in every step, so that it matters where the run goes on."""

SHORT = ["--batch-size=2", "--epochs=2"]


@pytest.fixture(scope="module")
def objects(tmp_path_factory, noisy):
    """COCO's layout: 6 images of a disc to learn from, 3 to validate on."""
    root = tmp_path_factory.mktemp("objects")
    (root / "annotations").mkdir()
    for split, count in (("train", 6), ("val", 3)):
        (root / f"{split}2017").mkdir()
        images, annotations = [], []
        for number in range(count):
            picture, box = (
                noisy((120, 120, 120), seed=number + count),
                (4 * number, 2 * number, 16, 16),
            )
            ImageDraw.Draw(picture).ellipse(
                (box[0], box[1], box[0] + 15, box[1] + 15), fill=(200, 40, 30)
            )
            picture.save(root / f"{split}2017" / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "width": 48, "height": 40})
            annotations.append(
                {"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": 256}
            )
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "disc"}],
        }
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def tasks(coloured, scenes, objects, train_options, segment_options):
    """The options of a small run of every task, how many steps it has, and how many processes."""
    mixing = [
        "--augment.random-erasing=0.5",
        "--augment.mixup=0.5",
        "--ema=0.9",
        "--accumulate=2",
    ]
    small = [option for option in train_options if "size" not in option]
    detection = [
        "--batch-size=2",
        "--detection.short-side=48",
        "--detection.fpn-channels=8",
        "--detection.box-channels=16",
    ]
    return {
        "classification": ([f"--data={coloured}", *train_options, *mixing, *RANDOM, *SHORT], 8, 2),
        "detection": ([f"--data={objects}", *small, *detection, *RANDOM], 9, 1),
        "segmentation": ([f"--data={scenes}", *segment_options, "--batch-size=1", *RANDOM], 9, 2),
    }


@pytest.mark.parametrize("task", ["classification", "segmentation", "detection"])
def test_a_run_killed_at_a_random_step_goes_on_bit_for_bit(check_goes_on, tasks, task):
    options, steps, processes = tasks[task]
    step, rank = random.randrange(3, steps + 1), random.randrange(processes)
    check_goes_on("train", *options, step=step, processes=processes, rank=rank)
