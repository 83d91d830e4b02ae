"""mIoU and AP: a resampled data set gives what evaluating it image by image would give."""

import numpy as np
import pytest
import torch

from nommer.intervals import how_often
from nommer.tasks.detection.metrics import average_precision
from nommer.tasks.detection.studying import resampled_precision
from nommer.tasks.segmentation.metrics import SegmentationMetrics
from nommer.tasks.segmentation.studying import resampled_miou

IMAGES, CLASSES = 5, 3


def test_miou_of_drawn_images_is_that_of_evaluating_them():
    random = np.random.default_rng(0)
    truth, labels = (random.integers(0, CLASSES, (IMAGES, 6, 4)) for _ in range(2))
    truth[:, 0], truth[truth == 2] = 255, 1
    truth[3, 1:], labels[3] = (
        2,
        2,
    )  # the only image of this class, which is found by mistake elsewhere
    truth[4] = 255  # no pixel of it counts
    pixels = np.stack(
        [
            SegmentationMetrics(CLASSES).update(*image, torch.zeros(())).classes
            for image in zip(torch.from_numpy(labels), torch.from_numpy(truth), strict=True)
        ]
    )
    drawn = how_often(IMAGES, seed=0, resamples=20)
    found = resampled_miou(pixels, drawn)
    for times, value in zip(drawn, found, strict=True):
        images = np.repeat(np.arange(IMAGES), times)
        metrics = SegmentationMetrics(CLASSES)
        for image in images:
            metrics.update(
                torch.from_numpy(labels[image]), torch.from_numpy(truth[image]), torch.zeros(())
            )
        assert value == pytest.approx(metrics.compute().miou)
    assert np.isnan(resampled_miou(pixels, np.array([[0, 0, 0, 0, 5]]))).all()


def objects(random):
    """A made truth in COCO's form, and detections that find some of it.

    One class occurs in the first image only.
    """
    annotations, results = [], []
    for image in range(IMAGES):
        for _ in range(4):
            box = [*random.uniform(0, 80, 2), *random.uniform(10, 60, 2)]
            label = int(random.integers(1, CLASSES if image else CLASSES + 1))
            number = {"id": len(annotations) + 1, "image_id": image + 1, "category_id": label}
            annotations.append(
                {
                    **number,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(random.random() < 0.1),
                }
            )
            for _ in range(3):
                moved = [
                    float(side + shift)
                    for side, shift in zip(box, random.normal(0, 4, 4), strict=True)
                ]
                score = float(random.random())
                results.append(
                    {"image_id": image + 1, "category_id": label, "bbox": moved, "score": score}
                )
    return annotations, results


def coco(annotations, images=IMAGES):
    listed = [{"id": number + 1, "width": 200, "height": 200} for number in range(images)]
    return {
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": n + 1, "name": str(n)} for n in range(CLASSES)],
    }


def copies(entries, images):
    """Return the entries of these images, drawn ones, each as a new one."""
    drawn = [
        {**e, "image_id": new + 1}
        for new, image in enumerate(images)
        for e in entries
        if e["image_id"] == image + 1
    ]
    return [
        {**entry, "id": number + 1} if "id" in entry else entry
        for number, entry in enumerate(drawn)
    ]


def test_average_precision_of_drawn_images_is_the_evaluators_own():
    annotations, results = objects(np.random.default_rng(1))
    drawn = how_often(IMAGES, seed=0, resamples=12)
    drawn[0] = 1
    found = resampled_precision(coco(annotations), results, "bbox", drawn, most=10)
    for number, times in enumerate(drawn):
        images = np.repeat(np.arange(IMAGES), times)
        evaluated = average_precision(
            coco(copies(annotations, images), len(images)), copies(results, images), "bbox", most=10
        )
        for name, values in found.items():
            assert values[number] == pytest.approx(evaluated.numbers[name], abs=1e-9), name
    assert set(found) == {"ap", "ap50", "ap75"}
    assert 0.05 < found["ap"][0] < 0.95
    assert np.ptp(found["ap"]) > 0.05


def test_average_precision_without_finds_or_objects():
    annotations, results = objects(np.random.default_rng(2))
    drawn = how_often(IMAGES, seed=0, resamples=3)
    nothing_found = resampled_precision(coco(annotations), [], "bbox", drawn, most=10)
    nothing_there = resampled_precision(coco([]), results, "bbox", drawn, most=10)
    assert all((values == 0).all() for values in nothing_found.values())
    assert all(np.isnan(values).all() for values in nothing_there.values())
