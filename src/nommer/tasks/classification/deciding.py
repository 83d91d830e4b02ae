"""Classification: temperature, refusal, and what both do to an evaluation."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nommer.intervals import mean_of_known
from nommer.models.classification import Classifier
from nommer.models.familiarity import NUM_STATISTICS, Familiarity
from nommer.shapes import Logits
from nommer.tasks.calibration import OneOfAll, scaling_of
from nommer.tasks.classification.metrics import TOP_K
from nommer.tasks.deciding import FALSE_REFUSALS, OneAnswerDeciding
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.resampled_calibration import intervals_of

_IMAGES_EACH = 8
"""Validation images for each number by which it is told which images are unlike them."""

_WIDEST = 512
"""Features that are stored at most: their whitening has half the square of so many numbers."""


class ImageEvidence(NamedTuple):
    """Facts that are kept of an image."""

    logits: Tensor
    """(classes,) of the network."""
    seen: Tensor | None
    """(statistics,) of the image as the network sees it, and what it sees early; None where nothing
    is refused by them, now or later.
    """


def evidence_of(logits: Logits, seen: Tensor | None) -> list[ImageEvidence]:
    """Return what is kept of the images of a batch."""
    pairs = zip(logits.float().cpu(), [None] * len(logits) if seen is None else seen, strict=True)
    return [ImageEvidence(*pair) for pair in pairs]


class ClassificationDeciding(OneAnswerDeciding):
    """One temperature, and a limit to refuse by."""

    def evidence(self, evaluation: Evaluation, model: Classifier) -> OneOfAll:
        """Return the scores of all images."""
        return OneOfAll(logits_of(evaluation), labels_of(evaluation), _numbered(evaluation))

    def refusal(self, evaluation: Evaluation, model: Classifier) -> Mapping[str, Any]:
        """Return the statistics of the images, and how far one may be from them.

        Of few images those of the pixels alone, of fewer none.
        """
        images = len(evaluation.evidence)
        if images < _IMAGES_EACH * NUM_STATISTICS:
            return {}
        seen = looks_of(evaluation)
        if seen.shape[1] > min(images // _IMAGES_EACH, NUM_STATISTICS + _WIDEST):
            seen = seen[:, :NUM_STATISTICS]
        return {"familiarity": Familiarity.fit(seen, rate=FALSE_REFUSALS)}

    def answers(self, evaluation: Evaluation, model: Classifier) -> tuple[Any, ...]:
        """Return the calibrated probabilities."""
        return tuple(model.probabilities(logits_of(evaluation)))

    def told(
        self, evidence: OneOfAll, evaluation: Evaluation, model: Classifier, times: np.ndarray
    ) -> Mapping[str, Any]:
        """Return the risk at some coverages, the area under that curve, and what is refused."""
        told = super().told(evidence, evaluation, model, times)
        right = evidence.answers(scaling_of(model.decisions))[1].numpy()
        refused = self.refused(evaluation, model)
        if refused is None:
            return told
        kept, counts = right[~refused], times.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            resampled = {
                "refused": counts @ refused / counts.sum(1),
                "top1_of_the_others": counts @ (right & ~refused) / (counts @ ~refused),
            }
        return {
            **told,
            "refused": float(refused.mean()),
            "top1_of_the_others": float(kept.mean()) if len(kept) else None,
            "intervals": told["intervals"] | intervals_of(resampled, len(refused)),
        }

    def refused(self, evaluation: Evaluation, model: Classifier) -> np.ndarray | None:
        """Return which images are refused, (images,) bool; None where none can be."""
        familiarity = model.decisions.familiarity
        if familiarity is None:
            return None
        seen = looks_of(evaluation)
        return familiarity.refused(seen[:, : len(familiarity.mean)]).numpy()

    def resampled(
        self, evaluation: Evaluation, model: Classifier, data: Any, times: np.ndarray
    ) -> Mapping[str, np.ndarray]:
        """Return top-1, top-5, mean per-class accuracy and macro F1."""
        logits, truth = logits_of(evaluation), labels_of(evaluation)
        predicted, classes = logits.argmax(1), logits.shape[1]
        counts = times.astype(np.float64)
        sums = [
            counts @ part
            for part in (
                _one_hot(truth, classes, predicted == truth),
                _one_hot(truth, classes),
                _one_hot(predicted, classes),
            )
        ]
        hits, support, answered = sums
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {
                "top1": hits.sum(1) / counts.sum(1),
                "mean_class_accuracy": mean_of_known(hits / support),
                "macro_f1": mean_of_known(2 * hits / (support + answered)),
            }
            if classes > TOP_K:
                among = (logits.topk(TOP_K, 1).indices == truth[:, None]).any(1).numpy()
                found["top5"] = counts @ among / counts.sum(1)
        return found


def logits_of(evaluation: Evaluation) -> Tensor:
    """Return (images, classes) scores of the network."""
    return torch.stack([one.logits for one in evaluation.evidence])


def looks_of(evaluation: Evaluation) -> Tensor:
    """Return (images, statistics) of the looks of images, by which some are refused."""
    return torch.stack([one.seen for one in evaluation.evidence])


def labels_of(evaluation: Evaluation) -> Tensor:
    """Return (images,) classes."""
    return torch.tensor([sample.label for sample in evaluation.samples])


def _numbered(evaluation: Evaluation) -> Tensor:
    return torch.arange(len(evaluation.samples))


def _one_hot(labels: Tensor, classes: int, chosen: Tensor | None = None) -> np.ndarray:
    """Return (images, classes) float64: 1 at the class of each image that is chosen, else 0."""
    found = torch.nn.functional.one_hot(labels, classes).double()
    return (found if chosen is None else found * chosen[:, None]).numpy()
