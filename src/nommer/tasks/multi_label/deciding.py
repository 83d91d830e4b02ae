"""Multi-label classification: temperatures and thresholds of the classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nommer.intervals import mean_of_known
from nommer.models.classification import Classifier
from nommer.tasks.calibration import EachByItself
from nommer.tasks.classification.deciding import ClassificationDeciding, logits_of
from nommer.tasks.deciding import TaskDeciding, best_f1, class_thresholds
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.multi_label.model import THRESHOLD
from nommer.tasks.resampled_calibration import intervals_of


class MultiLabelDeciding(ClassificationDeciding):
    """Each class by itself; an image of none is answered by none, so nothing is refused."""

    def evidence(self, evaluation: Evaluation, model: Classifier) -> EachByItself:  # type: ignore[override]
        """Return the score of every class of every image."""
        logits, truth = logits_of(evaluation), truth_of(evaluation, model)
        images, classes = logits.shape
        found = EachByItself(
            logits.flatten(),
            truth.flatten(),
            torch.arange(images).repeat_interleave(classes),
            labels=torch.arange(classes).repeat(images),
            classes=classes,
        )
        found.unit = "classes of images"
        return found

    def thresholds(
        self, evidence: EachByItself, evaluation: Evaluation, model: Classifier, scaling: Tensor
    ) -> Mapping[str, Any]:
        """Return the probabilities of the best F1, of all classes together and of each."""
        shape = len(evaluation.samples), len(model.class_names)
        probabilities = evidence.answers(scaling)[0].reshape(shape).numpy()
        return thresholds_of(probabilities, truth_of(evaluation, model).numpy())

    def of_folds(
        self, rows: Sequence[Mapping[str, Any]], names: Sequence[str]
    ) -> Mapping[str, Any]:
        """Return the thresholds of the answers of all folds to what each held back."""
        probabilities = np.array([row["probabilities"] for row in rows], np.float64)
        truth = np.array([[name in row["classes"] for name in names] for row in rows])
        return thresholds_of(probabilities, truth)

    def refusal(self, evaluation: Evaluation, model: Classifier) -> Mapping[str, Any]:
        """Return nothing."""
        return {}

    def told(
        self, evidence: Any, evaluation: Evaluation, model: Classifier, times: np.ndarray
    ) -> Mapping[str, Any]:
        """Return AUROC, and F1 and exact match with the thresholds found, if any."""
        logits, truth = logits_of(evaluation), truth_of(evaluation, model).numpy()
        once = np.ones((1, len(truth)))
        told = {"mean_auroc": _number(resampled_auroc(logits.numpy(), truth, once)[0])}
        least = model.decisions.thresholds(model.class_names, None)
        if not least:
            return told
        answered = model.probabilities(logits).double().numpy() >= np.array(least)
        found, resampled = (
            {f"{n}_at_found_thresholds": v for n, v in resampled_f1(answered, truth, of).items()}
            for of in (once, times.astype(np.float64))
        )
        told |= {name: _number(values[0]) for name, values in found.items()}
        return told | {"intervals": intervals_of(resampled, len(truth))}

    def draw(self, evidence: Any, model: Classifier, out: Path) -> None:
        """Draw a reliability diagram."""
        TaskDeciding.draw(self, evidence, model, out)

    def resampled(
        self, evaluation: Evaluation, model: Classifier, data: Any, times: np.ndarray
    ) -> Mapping[str, np.ndarray]:
        """Return mAP, macro and micro F1 and exact match, by the network's own probabilities."""
        logits, truth = logits_of(evaluation), truth_of(evaluation, model).numpy()
        own = logits.sigmoid().numpy()
        counts, least = times.astype(np.float64), model.threshold or THRESHOLD
        return {
            "mean_ap": resampled_precision(own, truth, counts),
            **resampled_f1(own >= least, truth, counts),
        }


def thresholds_of(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Return fields of `Decisions`: the probabilities of the best F1, of all classes and of each.

    Args:
        probabilities: (images, classes).
        truth: (images, classes) bool.
    """
    of_all = best_f1(probabilities.ravel(), truth.ravel(), int(truth.sum()))
    if of_all.threshold is None:
        return {}
    columns = zip(probabilities.T, truth.T, strict=True)
    of_classes = [(best_f1(p, right, int(right.sum())), int(right.sum())) for p, right in columns]
    return {
        "threshold": of_all.threshold,
        "class_thresholds": class_thresholds(of_classes, of_all.threshold),
    }


def truth_of(evaluation: Evaluation, model: Classifier) -> Tensor:
    """Return (images, classes) bool."""
    truth = torch.zeros(len(evaluation.samples), len(model.class_names), dtype=torch.bool)
    for row, sample in zip(truth, evaluation.samples, strict=True):
        row[list(sample.classes)] = True
    return truth


def resampled_f1(
    answered: np.ndarray, truth: np.ndarray, times: np.ndarray
) -> dict[str, np.ndarray]:
    """Return macro and micro F1 and exact match of resampled data sets, (resamples,) each.

    Args:
        answered: (images, classes) bool.
        truth: (images, classes) bool.
        times: (resamples, images) float64: how often each data set holds each image.
    """
    hits, both = times @ (answered & truth), times @ (answered.astype(float) + truth)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "macro_f1": np.nan_to_num(mean_of_known(np.where(both > 0, 2 * hits / both, np.nan))),
            "micro_f1": np.nan_to_num(2 * hits.sum(1) / both.sum(1)),
            "exact_match": times @ (answered == truth).all(1) / times.sum(1),
        }


def resampled_precision(scores: np.ndarray, truth: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return (resamples,) mean average precision over the classes that occur.

    For the arguments see `resampled_f1`; `scores` are (images, classes).
    """
    found = []
    for column, right in zip(scores.T, truth.T, strict=True):
        hits, answers = _falling(column, right, times)
        gained = np.diff(hits, axis=1, prepend=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(answers > 0, hits / answers, 0)
            found.append((gained * precision).sum(1) / hits[:, -1])
    return mean_of_known(np.stack(found).T)


def resampled_auroc(scores: np.ndarray, truth: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return (resamples,) mean area under the ROC curve over the classes that occur.

    For the arguments see `resampled_precision`.
    """
    found = []
    for column, right in zip(scores.T, truth.T, strict=True):
        hits, answers = (np.pad(part, ((0, 0), (1, 0))) for part in _falling(column, right, times))
        wrong = answers - hits
        area = (np.diff(wrong) * (hits[:, 1:] + hits[:, :-1]) / 2).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(area / (hits[:, -1] * wrong[:, -1]))
    return mean_of_known(np.stack(found).T)


def _falling(
    scores: np.ndarray, right: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return right and all answers down to each score, (resamples, scores), equal ones at once."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    counted = times[:, order]
    return (counted * right[order]).cumsum(1)[:, ends], counted.cumsum(1)[:, ends]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
