"""Detections matched to objects at IoU 0.5: finds, the best threshold, the confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from nommer.data.formats.objects import DetectionSample
from nommer.predictions import Detections

SAME_PLACE = 0.9
"""IoU above which two boxes of the same class are one object's."""

MATCH_IOU = 0.5
"""Intersection over union from which on a detection counts as a find, where one limit is needed."""


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

    def as_detections(self, class_names: tuple[str, ...], sample: DetectionSample) -> Detections:
        """Return the answer to a sample, whose image has the size that the data say."""
        runs = [entry.get("segmentation") for entry in self.results]
        masks = tuple(one["counts"].encode("ascii") for one in runs if one is not None)
        return Detections(
            str(sample.path),
            class_names,
            (sample.size[1], sample.size[0]),
            self.boxes.numpy(),
            self.scores.numpy(),
            self.labels.numpy(),
            masks if runs and None not in runs else None,
        )


def match(answers: Sequence[ImageAnswer]) -> Matches:
    """Match detections to objects, the surest first, as COCO's evaluator does at one IoU."""
    scores, found, objects = [np.zeros(0)], [np.zeros(0, bool)], 0
    for answer in answers:
        objects += int((~answer.crowd).sum())
        of_image = matched(answer)
        scores.append(of_image[0])
        found.append(of_image[1])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return Matches(np.concatenate(scores)[order], np.concatenate(found)[order], objects)


def matched(answer: ImageAnswer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, finds and classes of the detections in an image, but for those in crowds."""
    taken = _match_image(answer, same_class=True)
    counts = ~_in_crowd(answer, taken)
    labels = answer.labels.numpy()[counts]
    return answer.scores.double().numpy()[counts], (taken >= 0)[counts], labels


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
