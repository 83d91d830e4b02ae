"""Metrics of detection: COCO's average precision by its evaluator.

Matches at IoU 0.5 for what people look at.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor
from torchvision.ops import box_iou

from nommer.data.formats.objects import DetectionSample
from nommer.predictions import Detections

MATCH_IOU = 0.5
"""Intersection over union from which on a detection counts as a find, where one limit is needed."""

_STATS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar", "ar_small", "ar_medium", "ar_large"),
)
"""The evaluator's numbers, in its order."""


@dataclass(frozen=True)
class AveragePrecision:
    """The numbers of COCO's evaluator for boxes or for masks.

    From 0 to 1, None where nothing of the kind occurs.
    """

    numbers: dict[str, float | None]
    """AP over IoU 0.5 to 0.95, at 0.5, at 0.75, of small, medium and large objects; average recall
    likewise.
    """
    per_class: list[float | None]
    """AP of each class."""
    precision: np.ndarray
    """(101, classes) precision at IoU 0.5 at recalls 0, 0.01, ..., 1; -1 where a class does not
    occur.
    """


def average_precision(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: Literal["bbox", "segm"],
    *,
    most: int = 100,
) -> AveragePrecision:
    """Run COCO's evaluator.

    Args:
        truth: content of a COCO JSON file.
        results: detections as in a COCO results file, with "bbox", or "segmentation" as compressed
            run lengths.
        kind: what is compared.
        most: detections per image that count, the surest ones.
    """
    evaluation = coco_evaluation(truth, results, kind)
    evaluation.params.maxDets = [1, 10, most]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"][
        :, :, :, 0, -1
    ]  # IoU, recall, class; all areas, most detections
    per_class = [_mean(precision[..., label]) for label in range(precision.shape[-1])]
    numbers = {name: _number(value) for name, value in zip(_STATS, evaluation.stats, strict=False)}
    return AveragePrecision(numbers, per_class, precision[0])


def coco_evaluation(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: Literal["bbox", "segm"],
    **options: Any,
) -> COCOeval_faster:
    """COCO's evaluator of all classes, before it evaluates.

    For the arguments see `average_precision`.
    """
    # areas are those of what is compared, so masks come without the boxes around them
    entries = [
        {k: v for k, v in r.items() if k != ("bbox" if kind == "segm" else "segmentation")}
        for r in results
    ]
    known = COCO(copy.deepcopy(dict(truth)))
    evaluation = COCOeval_faster(
        known, known.loadRes(entries), kind, print_function=_silent, **options
    )
    evaluation.params.catIds = [category["id"] for category in truth["categories"]]
    return evaluation


def _silent(*_: Any) -> None:
    """The evaluator's tables are not for the screen."""


def _mean(precision: np.ndarray) -> float | None:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else None


def _number(value: float) -> float | None:
    return None if value < 0 else float(value)


@dataclass(frozen=True)
class Matches:
    """The detections of a data set that are finds at `MATCH_IOU`, each with its score."""

    scores: np.ndarray
    """(detections,) float64, falling."""
    found: np.ndarray
    """(detections,) bool: overlaps an object of its class that no surer detection has taken."""
    objects: int

    def f1(self) -> np.ndarray:
        """(detections,) F1 where the detections up to this one count."""
        finds = self.found.cumsum()
        return 2 * finds / np.maximum(np.arange(1, len(self.found) + 1) + self.objects, 1)

    def best_threshold(self) -> tuple[float | None, float | None]:
        """The score from which on detections give the best F1, and that F1.

        None where there is nothing to find.
        """
        if not len(self.scores) or not self.objects:
            return None, None
        best = int(self.f1().argmax())
        return float(self.scores[best]), float(self.f1()[best])


@dataclass(frozen=True)
class ImageAnswer:
    """A detector's answer to one image, and the truth; both at the image's own size."""

    image_id: int
    boxes: Tensor
    """(n, 4) left, upper, right, lower in pixels, by falling score."""
    scores: Tensor
    labels: Tensor
    """(n,) class indices."""
    true_boxes: Tensor
    true_labels: Tensor
    crowd: Tensor
    """(objects,) bool: neither to be found nor a mistake to find."""
    results: list[dict[str, Any]] = field(default_factory=list)
    """The answer as entries of a COCO results file."""

    @classmethod
    def of(
        cls, found: Detections, sample: DetectionSample, category_ids: Sequence[int]
    ) -> "ImageAnswer":
        """Return the answer to a sample beside its objects."""
        objects = sample.objects
        return cls(
            sample.image_id,
            boxes=torch.from_numpy(found.boxes),
            scores=torch.from_numpy(found.scores),
            labels=torch.from_numpy(found.labels),
            true_boxes=torch.from_numpy(objects.boxes),
            true_labels=torch.from_numpy(objects.labels),
            crowd=torch.from_numpy(objects.crowd),
            results=found.to_coco(sample.image_id, category_ids),
        )


def match(answers: Sequence[ImageAnswer]) -> Matches:
    """Match detections to objects, the surest first, as COCO's evaluator does at one IoU."""
    scores, found, objects = [np.zeros(0)], [np.zeros(0, bool)], 0
    for answer in answers:
        objects += int((~answer.crowd).sum())
        taken = _match_image(answer, same_class=True)
        counts = ~_in_crowd(answer, taken)
        scores.append(answer.scores.double().numpy()[counts])
        found.append((taken >= 0)[counts])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return Matches(np.concatenate(scores)[order], np.concatenate(found)[order], objects)


def _match_image(answer: ImageAnswer, *, same_class: bool) -> np.ndarray:
    """(n,) the object that each detection finds, -1 for none; every object is found once."""
    overlaps = box_iou(answer.boxes.double(), answer.true_boxes.double())
    overlaps[:, answer.crowd] = 0
    if same_class:
        overlaps = overlaps * (answer.labels[:, None] == answer.true_labels)
    taken = np.full(len(answer.boxes), -1)
    for detection in range(len(answer.boxes)):
        if overlaps.shape[1] and overlaps[detection].max() >= MATCH_IOU:
            taken[detection] = int(overlaps[detection].argmax())
            overlaps[:, taken[detection]] = 0
    return taken


def _in_crowd(answer: ImageAnswer, taken: np.ndarray) -> np.ndarray:
    """Return (n,) bool: detections without an object of their own that lie in a crowd.

    Their larger part lies in a crowd of their class.
    """
    if not answer.crowd.any() or not len(answer.boxes):
        return np.zeros(len(answer.boxes), bool)
    boxes, crowds = answer.boxes.double(), answer.true_boxes[answer.crowd].double()
    sides = torch.minimum(boxes[:, None, 2:], crowds[:, 2:]) - torch.maximum(
        boxes[:, None, :2], crowds[:, :2]
    )
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1, keepdim=True).clamp_min(1e-9)
    inside = sides.clamp_min(0).prod(-1) / areas >= MATCH_IOU
    same = answer.labels[:, None] == answer.true_labels[answer.crowd]
    return (inside & same).any(-1).numpy() & (taken < 0)


def confusion_matrix(answers: Sequence[ImageAnswer], num_classes: int, threshold: float) -> Tensor:
    """Objects against the surest detections that overlap them, whatever the class.

    Returns:
        (classes + 1, classes + 1) int64: rows true, columns predicted; the last of both is the
        background, so the last column counts missed objects and the last row false alarms.
    """
    confusion = torch.zeros(num_classes + 1, num_classes + 1, dtype=torch.int64)
    for answer in answers:
        sure = answer.scores >= threshold
        shown = ImageAnswer(
            answer.image_id,
            answer.boxes[sure],
            answer.scores[sure],
            answer.labels[sure],
            answer.true_boxes,
            answer.true_labels,
            answer.crowd,
        )
        taken = _match_image(shown, same_class=False)
        alarms = ~_in_crowd(shown, taken)
        for detection, label in enumerate(shown.labels.tolist()):
            if taken[detection] >= 0:
                confusion[int(answer.true_labels[taken[detection]]), label] += 1
            elif alarms[detection]:
                confusion[num_classes, label] += 1
        missed = set(np.flatnonzero(~answer.crowd.numpy()).tolist()) - set(taken.tolist())
        for index in missed:
            confusion[int(answer.true_labels[index]), num_classes] += 1
    return confusion


@dataclass(frozen=True)
class DetectionReport:
    """The evaluation over a data set; from 0 to 1, None where nothing of the kind occurs."""

    class_measure: ClassVar[str] = "box_ap"

    images: int
    objects: int
    boxes: AveragePrecision
    masks: AveragePrecision | None
    """None of a detector without masks."""
    best_threshold: float | None
    """The score from which on detections, of boxes at IoU 0.5, give the best F1."""
    best_f1: float | None
    confusion: Tensor
    """(classes + 1, classes + 1) int64 at `best_threshold`: rows true, columns predicted, the
    background last.
    """
    class_objects: tuple[int, ...]

    @property
    def box_ap(self) -> float:
        """AP of the boxes over IoU 0.5 to 0.95; 0 where there is nothing to find."""
        return self.boxes.numbers["ap"] or 0.0

    def summary(self) -> dict[str, Any]:
        """The numbers without tables, for JSON and the screen."""
        numbers: dict[str, Any] = {"images": self.images, "objects": self.objects}
        numbers |= {f"box_{name}": value for name, value in self.boxes.numbers.items()}
        if self.masks is not None:
            numbers |= {f"mask_{name}": value for name, value in self.masks.numbers.items()}
        return numbers | {"best_threshold": self.best_threshold, "best_f1": self.best_f1}

    def per_class(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """One row per class: objects, AP of boxes, at IoU 0.5, and of masks where there are any."""
        rows = []
        for label, name in enumerate(names):
            row = {
                "class": name,
                "objects": self.class_objects[label],
                "box_ap": self.boxes.per_class[label],
            }
            row["box_ap50"] = _mean(self.boxes.precision[:, label])
            if self.masks is not None:
                row |= {
                    "mask_ap": self.masks.per_class[label],
                    "mask_ap50": _mean(self.masks.precision[:, label]),
                }
            rows.append(row)
        return rows


def evaluate_detections(
    answers: Sequence[ImageAnswer], truth: Mapping[str, Any], *, masks: bool, most: int
) -> DetectionReport:
    """The report over the answers to all images of `truth`, the content of a COCO JSON file."""
    results = [entry for answer in answers for entry in answer.results]
    matches = match(answers)
    threshold, f1 = matches.best_threshold()
    labels = {category["id"]: label for label, category in enumerate(truth["categories"])}
    counts = [0] * len(labels)
    for annotation in truth["annotations"]:
        counts[labels[annotation["category_id"]]] += not annotation["iscrowd"]
    return DetectionReport(
        images=len(truth["images"]),
        objects=sum(counts),
        boxes=average_precision(truth, results, "bbox", most=most),
        masks=average_precision(truth, results, "segm", most=most) if masks else None,
        best_threshold=threshold,
        best_f1=f1,
        confusion=confusion_matrix(answers, len(labels), 0.5 if threshold is None else threshold),
        class_objects=tuple(counts),
    )
