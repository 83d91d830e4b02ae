"""Detection: temperatures and thresholds of the objects' scores, and intervals of AP."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nommer.models.decisions import EDGE
from nommer.models.detection import Detector
from nommer.tasks.calibration import NEUTRAL, EachByItself, scaling_of
from nommer.tasks.deciding import TaskDeciding, best_f1, class_thresholds
from nommer.tasks.detection.matching import matched
from nommer.tasks.detection.studying import resampled_precisions
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.resampled_calibration import intervals_of, resampled_f1

_HALF = 0.5
"""Score from which on a detector without thresholds is usually believed."""

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
        self, evidence: EachByItself, evaluation: Evaluation, model: Detector, times: np.ndarray
    ) -> Mapping[str, Any]:
        """Return precision, recall and F1 with the thresholds found.

        And beside them those of all answers, and of the network's own scores from 0.5 on.
        """
        least = model.decisions.thresholds(model.class_names, None)
        own = evidence.answers(NEUTRAL)[0].numpy()
        ways = {"all_answers": np.ones(len(own), bool), "own_scores_from_half": own >= _HALF}
        if least:
            scores = evidence.answers(scaling_of(model.decisions))[0].numpy()
            ways["found_thresholds"] = scores >= np.array(least)[evidence.labels.numpy()]
        wanted = wanted_of_images(evaluation)
        drawn = {name: resampled_f1(way, evidence, wanted, times) for name, way in ways.items()}
        told: dict[str, Any] = {
            name: {
                **_counted(way, evidence.truth.numpy(), wanted),
                "intervals": intervals_of(drawn[name], len(wanted)),
            }
            for name, way in ways.items()
        }
        if least:
            best = drawn.pop("found_thresholds")["f1"]
            gained = {f"f1_gained_over_{name}": best - one["f1"] for name, one in drawn.items()}
            told["intervals"] = intervals_of(gained, len(wanted))
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


def wanted_of_images(evaluation: Evaluation) -> np.ndarray:
    """Return (images,) objects that there are to find in each, without crowds."""
    return np.array([int((~answer.crowd).sum()) for answer in evaluation.answers])


def _counted(
    answered: np.ndarray, found: np.ndarray, wanted: np.ndarray
) -> dict[str, float | None]:
    finds, answers, sought = int((answered & found).sum()), int(answered.sum()), int(wanted.sum())
    return {
        "answers_per_image": answers / max(1, len(wanted)),
        "precision": finds / answers if answers else None,
        "recall": finds / sought if sought else None,
        "f1": 2 * finds / (answers + sought) if answers + sought else None,
    }
