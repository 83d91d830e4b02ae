"""Detection: temperatures and thresholds of the objects' scores, and intervals of AP."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nommer.models.decisions import EDGE
from nommer.models.detection import Detector
from nommer.tasks.calibration import EachByItself, scaling_of
from nommer.tasks.deciding import TaskDeciding, best_f1, class_thresholds
from nommer.tasks.detection.matching import matched
from nommer.tasks.detection.studying import resampled_precisions
from nommer.tasks.evaluation import Evaluation

_MOST_MATCHED, _LEAST_RESAMPLES = 200_000, 20
"""Images times classes that COCO's evaluator draws together for the intervals."""


class DetectionDeciding(TaskDeciding):
    """A score is the probability that there is an object of its class, at IoU 0.5."""

    def evidence(self, evaluation: Evaluation, model: Detector) -> EachByItself:
        """Return every answer with a score of 0.05 or more."""
        scores, found, labels, images = self._answered(evaluation)
        logits = torch.from_numpy(scores).clamp(EDGE, 1 - EDGE).logit()
        return EachByItself(
            logits,
            torch.from_numpy(found),
            torch.from_numpy(images),
            labels=torch.from_numpy(labels),
            classes=len(model.class_names),
        )

    def _answered(self, evaluation: Evaluation) -> tuple[np.ndarray, ...]:
        """Return score, find, class and image of every answer of all images."""
        of_images = [matched(answer) for answer in evaluation.answers]
        numbers = [np.full(len(scores), at) for at, (scores, *_) in enumerate(of_images)]
        columns = zip(*of_images, strict=True)
        return *(np.concatenate(column) for column in columns), np.concatenate(numbers)

    def thresholds(
        self, evidence: EachByItself, evaluation: Evaluation, model: Detector, scaling: Tensor
    ) -> Mapping[str, Any]:
        """Return the scores of the best F1, of all classes together and of each."""
        wanted = objects_of(evaluation, model)
        scores = evidence.answers(scaling)[0].numpy()
        found, labels = evidence.truth.numpy(), evidence.labels.numpy()
        of_all = best_f1(scores, found, int(wanted.sum()))
        if of_all.threshold is None:
            return {}
        of_classes = []
        for label, count in enumerate(wanted.tolist()):
            mine = labels == label
            of_classes.append((best_f1(scores[mine], found[mine], count), count))
        return {
            "threshold": of_all.threshold,
            "class_thresholds": class_thresholds(of_classes, of_all.threshold),
        }

    def told(
        self, evidence: EachByItself, evaluation: Evaluation, model: Detector
    ) -> Mapping[str, Any]:
        """Return precision, recall and F1 with the thresholds found, and with the lowest one."""
        wanted = int(objects_of(evaluation, model).sum())
        scores = evidence.answers(scaling_of(model.decisions))[0].numpy()
        found, labels = evidence.truth.numpy(), evidence.labels.numpy()
        images = len(evaluation.samples)
        everything = np.ones(len(scores), bool)
        told = {"all_answers": _counted(everything, found, wanted, images)}
        least = model.decisions.thresholds(model.class_names, None)
        if least:
            answered = scores >= np.array(least)[labels]
            told["found_thresholds"] = _counted(answered, found, wanted, images)
        return told

    def resampled(
        self, evaluation: Evaluation, model: Detector, data: Any, times: np.ndarray
    ) -> Mapping[str, np.ndarray]:
        """Return average precision of the boxes, and of the masks where there are any."""
        size = max(1, len(evaluation.samples) * len(model.class_names))
        fewer = times[: max(_LEAST_RESAMPLES, _MOST_MATCHED // size)]
        return resampled_precisions(data, model, evaluation, fewer)


def objects_of(evaluation: Evaluation, model: Detector) -> np.ndarray:
    """Return (classes,) objects that there are to find, without crowds."""
    labels = [answer.true_labels[~answer.crowd].numpy() for answer in evaluation.answers]
    return np.bincount(
        np.concatenate([np.zeros(0, np.int64), *labels]), minlength=len(model.class_names)
    )


def _counted(
    answered: np.ndarray, found: np.ndarray, wanted: int, images: int
) -> dict[str, float | None]:
    finds, answers = int((answered & found).sum()), int(answered.sum())
    return {
        "answers_per_image": answers / max(1, images),
        "precision": finds / answers if answers else None,
        "recall": finds / wanted if wanted else None,
        "f1": 2 * finds / (answers + wanted) if answers + wanted else None,
    }
