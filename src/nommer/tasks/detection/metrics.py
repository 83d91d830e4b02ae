"""Metrics of detection: COCO's average precision by its evaluator, and the report of all."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor

from nommer.tasks.detection.matching import ImageAnswer, confusion_matrix, match

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
class DetectionReport:
    """The evaluation over a data set; from 0 to 1, None where nothing of the kind occurs."""

    class_measure: ClassVar[str] = "box_ap"

    images: int
    objects: int
    boxes: AveragePrecision
    masks: AveragePrecision | None
    """None of a detector without masks, or on data without."""
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
