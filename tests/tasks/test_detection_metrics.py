"""The numbers of detectors.

COCO's evaluator against pycocotools, matches and confusion against literal loops.
"""

import contextlib
import copy
import io

import numpy as np
import pytest
import torch
from faster_coco_eval.core import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nommer.tasks.detection.matching import ImageAnswer, confusion_matrix, match
from nommer.tasks.detection.metrics import average_precision, evaluate_detections

IDS = (3, 7, 90)
"""Category ids with holes, as COCO's are."""


def random_boxes(random, count, size):
    corner = random.uniform(0, size * 0.7, (count, 2))
    return np.hstack([corner, corner + random.uniform(4, size * 0.5, (count, 2))]).clip(0, size)


def scene(seed, *, images=12, size=120):
    """Ground truth as a COCO file, and answers that find, miss and invent some objects."""
    random = np.random.default_rng(seed)
    truth = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": f"class {i}"} for i in IDS],
    }
    answers = []
    for image in range(images):
        image_id = 5 * image + 2
        truth["images"].append(
            {"id": image_id, "file_name": f"{image}.png", "width": size, "height": size}
        )
        count = int(random.integers(0, 6))
        boxes, labels = random_boxes(random, count, size), random.integers(0, 2, count)
        crowd = random.random(count) < 0.15
        for box, label, is_crowd in zip(boxes, labels, crowd, strict=True):
            truth["annotations"].append(
                annotation(len(truth["annotations"]) + 1, image_id, box, label, is_crowd, size)
            )
        kept = random.random(count) < 0.8
        guessed = np.vstack(
            [boxes[kept] + random.normal(0, 2, (kept.sum(), 4)), random_boxes(random, 3, size)]
        )
        guessed = np.hstack([np.minimum(guessed[:, :2], guessed[:, 2:] - 1), guessed[:, 2:]]).clip(
            0, size
        )
        found = np.where(random.random(len(guessed)) < 0.8, np.append(labels[kept], [0, 1, 2]), 1)
        scores = np.sort(random.random(len(guessed)))[::-1].round(2).copy()
        answers.append(answer(image_id, guessed, scores, found, boxes, labels, crowd, size))
    return truth, answers


def mask_of(box, size):
    """The ellipse in a box, as compressed run lengths."""
    rows, columns = np.mgrid[:size, :size]
    (left, upper, right, lower) = box
    inside = ((columns + 0.5 - (left + right) / 2) / (right - left + 1e-6)) ** 2
    inside += ((rows + 0.5 - (upper + lower) / 2) / (lower - upper + 1e-6)) ** 2
    encoded = coco_masks.encode(np.asfortranarray((inside <= 0.25).astype(np.uint8)))
    return {"size": [size, size], "counts": encoded["counts"].decode()}


def xywh(box):
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def annotation(number, image_id, box, label, crowd, size):
    mask = mask_of(box, size)
    return {
        **{
            "id": number,
            "image_id": image_id,
            "category_id": IDS[label],
            "bbox": xywh(box),
            "iscrowd": int(crowd),
        },
        **{"area": float(coco_masks.area(mask)), "segmentation": mask},
    }


def answer(image_id, boxes, scores, labels, true_boxes, true_labels, crowd, size):
    results = [
        {
            **{
                "image_id": image_id,
                "category_id": IDS[label],
                "bbox": xywh(box),
                "score": float(score),
            },
            "segmentation": mask_of(box, size),
        }
        for box, score, label in zip(boxes, scores, labels, strict=True)
    ]
    tensors = (boxes.reshape(-1, 4), scores, labels, true_boxes.reshape(-1, 4), true_labels, crowd)
    return ImageAnswer(image_id, *(torch.as_tensor(value) for value in tensors), results)


def pycocotools(truth, results, kind, most):
    """The same numbers from the original evaluator."""
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = copy.deepcopy(truth)
        known.createIndex()
        entries = [
            {k: v for k, v in r.items() if k != ("bbox" if kind == "segm" else "segmentation")}
            for r in results
        ]
        evaluation = COCOeval(known, known.loadRes(copy.deepcopy(entries)), kind)
        evaluation.params.maxDets = [1, 10, most]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools(kind, seed):
    truth, answers = scene(seed)
    results = [entry for one in answers for entry in one.results]
    found = average_precision(truth, results, kind, most=100)
    expected = [None if value < 0 else value for value in pycocotools(truth, results, kind, 100)]
    assert list(found.numbers.values()) == pytest.approx(expected, abs=1e-6)
    occurring = [value for value in found.per_class if value is not None]
    assert np.mean(occurring) == pytest.approx(found.numbers["ap"], abs=1e-6)
    assert found.per_class[2] is None, "class 90 has no object"


def test_nothing_found_is_zero_and_nothing_to_find_is_no_number():
    truth, _ = scene(0)
    found = average_precision(truth, [], "bbox")
    assert found.numbers["ap"] == 0
    empty = truth | {"annotations": []}
    assert average_precision(empty, [], "bbox").numbers["ap"] is None


def literal_matches(answers):
    """(score, found) of every detection and the number of objects, by loops over plain numbers."""
    rows, objects = [], 0
    for one in answers:
        free = [not crowd for crowd in one.crowd.tolist()]
        objects += sum(free)
        for box, score, label in zip(
            one.boxes.tolist(), one.scores.tolist(), one.labels.tolist(), strict=True
        ):
            best, which = 0.0, None
            for index, (other, true) in enumerate(
                zip(one.true_boxes.tolist(), one.true_labels.tolist(), strict=True)
            ):
                if free[index] and true == label and iou(box, other) > best:
                    best, which = iou(box, other), index
            if best >= 0.5:
                free[which] = False
                rows.append((score, True))
            elif not any(
                crowd and true == label and inside(box, other) >= 0.5
                for other, true, crowd in zip(
                    one.true_boxes.tolist(),
                    one.true_labels.tolist(),
                    one.crowd.tolist(),
                    strict=True,
                )
            ):
                rows.append((score, False))
    return sorted(rows, key=lambda row: -row[0]), objects


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def iou(one, other):
    both = overlap(one, other)
    return both / (area(one) + area(other) - both)


def inside(one, other):
    return overlap(one, other) / max(area(one), 1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_matches_equal_a_literal_loop(seed):
    _, answers = scene(seed)
    found, (rows, objects) = match(answers), literal_matches(answers)
    assert found.objects == objects
    assert sorted(zip(found.scores.tolist(), found.found.tolist(), strict=True)) == sorted(rows)
    threshold, best = found.best_threshold()
    f1 = {}
    for limit, _ in rows:
        sure = [hit for score, hit in rows if score >= limit]
        f1[limit] = 2 * sum(sure) / (len(sure) + objects)
    assert best == pytest.approx(max(f1.values()), abs=0.02), (
        "detections of equal score are taken one by one"
    )
    assert f1[threshold] == pytest.approx(best, abs=0.02)


@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_every_object_and_every_sure_detection_is_in_the_confusion_once(threshold):
    _, answers = scene(1)
    confusion = confusion_matrix(answers, 3, threshold)
    assert confusion[:3].sum() == sum(int((~one.crowd).sum()) for one in answers)
    sure = sum(int((one.scores >= threshold).sum()) for one in answers)
    crowds = sure - int(confusion[:, :3].sum())
    assert 0 <= crowds <= sum(int(one.crowd.sum()) for one in answers) * 3
    assert confusion[3, 3] == 0


def test_a_perfect_answer_is_perfect():
    truth, answers = scene(2)
    perfect = []
    for one in answers:
        kept = ~one.crowd.numpy()
        boxes, labels = one.true_boxes.numpy()[kept], one.true_labels.numpy()[kept]
        crowd = one.crowd.numpy()
        scores = np.linspace(0.9, 0.8, len(boxes))
        perfect.append(
            answer(
                one.image_id,
                boxes,
                scores,
                labels,
                one.true_boxes.numpy(),
                one.true_labels.numpy(),
                crowd,
                120,
            )
        )
    report = evaluate_detections(perfect, truth, masks=True, most=100)
    assert report.box_ap == pytest.approx(1)
    assert report.summary()["mask_ap50"] == pytest.approx(1)
    assert report.best_f1 == 1
    assert report.confusion.diag().sum() == report.objects == report.confusion.sum()
    assert [row["objects"] for row in report.per_class(("a", "b", "c"))][2] == 0
