"""Metrics of classification, the same in the validation of training and in `evaluate`."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
)

from nommer.tasks.confusion import HasConfusion, class_scores, most_confused_with, number

TOP_K = 5
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class ClassificationReport(HasConfusion):
    """The evaluation over a data set; shares from 0 to 1, None where a number has no meaning."""

    class_measure: ClassVar[str] = "recall"

    images: int
    loss: float
    """Mean cross-entropy, in nats."""
    top1: float
    top5: float | None
    """None with five classes or fewer."""
    mean_class_accuracy: float
    """Mean recall over the classes that occur."""
    macro_f1: float
    """Mean F1 over the classes that occur or are predicted."""
    calibration_error: float
    """Expected calibration error (L1, 15 bins) of the top probability."""
    confusion: Tensor
    """(classes, classes) int64: rows true, columns predicted."""

    def per_class(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return one row per class, and its most frequent confusion; None where undefined."""
        scores = class_scores(self.confusion)
        return [
            {
                "class": name,
                "images": int(scores.support[label]),
                "predicted": int(scores.predicted[label]),
                "recall": number(scores.recall[label]),
                "precision": number(scores.precision[label]),
                "f1": number(scores.f1[label]),
                "most_confused_with": most_confused_with(self.confusion, label, names),
            }
            for label, name in enumerate(names)
        ]


class ClassificationMetrics(nn.Module):
    """Collects scores and labels over all processes into a `ClassificationReport`."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        metrics: dict[str, Metric | MetricCollection] = {
            "top1": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
            "calibration": MulticlassCalibrationError(
                num_classes, n_bins=CALIBRATION_BINS, validate_args=False
            ),
            "confusion": MulticlassConfusionMatrix(num_classes, validate_args=False),
        }
        if num_classes > TOP_K:
            metrics["top5"] = MulticlassAccuracy(
                num_classes, average="micro", top_k=TOP_K, validate_args=False
            )
        self.scores = MetricCollection(metrics, compute_groups=False)
        self.loss = MeanMetric(nan_strategy="disable")  # a loss of NaN shall be seen

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (B, classes), labels (B,)."""
        logits = logits.float()
        self.scores.update(logits.softmax(-1), labels)
        self.loss.update(nn.functional.cross_entropy(logits, labels, reduction="none"))

    def reset(self) -> None:
        """Forget everything."""
        self.scores.reset()
        self.loss.reset()

    def compute(self) -> ClassificationReport:
        """The report over everything since the last reset."""
        values = {name: value.cpu() for name, value in self.scores.compute().items()}
        confusion = values["confusion"].long()
        scores = class_scores(confusion)
        return ClassificationReport(
            images=int(confusion.sum()),
            loss=self.loss.compute().item(),
            top1=values["top1"].item(),
            top5=values["top5"].item() if "top5" in values else None,
            mean_class_accuracy=torch.nanmean(scores.recall).item(),
            macro_f1=torch.nanmean(scores.f1).item(),
            calibration_error=values["calibration"].item(),
            confusion=confusion,
        )
