"""How models are judged, per task: the same numbers in training's validation and in `evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection, SumMetric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
)

from nommer.data.masks import IGNORE

TOP_K = 5
CALIBRATION_BINS = 15


class _HasConfusion:
    """A report whose fields are numbers but for the confusion matrix."""

    def summary(self) -> dict[str, Any]:
        """The numbers without the matrix, for JSON and the screen."""
        return {name: value for name, value in vars(self).items() if name != "confusion"}


@dataclass(frozen=True)
class ClassificationReport(_HasConfusion):
    """The evaluation over a data set; shares are from 0 to 1, None where a number has no meaning."""

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
        """One row per class: images, recall, precision, F1 (None where undefined), and its most
        frequent confusion.
        """
        scores = class_scores(self.confusion)
        return [
            {
                "class": name,
                "images": int(scores.support[label]),
                "predicted": int(scores.predicted[label]),
                "recall": _number(scores.recall[label]),
                "precision": _number(scores.precision[label]),
                "f1": _number(scores.f1[label]),
                "most_confused_with": most_confused_with(self.confusion, label, names),
            }
            for label, name in enumerate(names)
        ]


def _number(value: Tensor) -> float | None:
    return None if value.isnan() else value.item()


class ClassScores(NamedTuple):
    """Per class, (classes,) float64; NaN where the denominator is 0."""

    support: Tensor
    predicted: Tensor
    recall: Tensor
    precision: Tensor
    f1: Tensor
    iou: Tensor


def class_scores(confusion: Tensor) -> ClassScores:
    """What a confusion matrix (rows true, columns predicted) says of each class."""
    hits, support, predicted = (
        confusion.diag().double(),
        confusion.sum(1).double(),
        confusion.sum(0).double(),
    )
    both = support + predicted
    return ClassScores(
        support, predicted, hits / support, hits / predicted, 2 * hits / both, hits / (both - hits)
    )


def most_confused_with(confusion: Tensor, label: int, names: Sequence[str]) -> str | None:
    """The class that `label` is taken for most often; None where it never is mistaken."""
    mistakes = confusion[label].clone()
    mistakes[label] = 0
    return names[int(mistakes.argmax())] if mistakes.sum() else None


class ClassificationMetrics(nn.Module):
    """Collects batches of scores and labels on their device, over all processes, into a
    `ClassificationReport`.
    """

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
        self.loss = MeanMetric(nan_strategy="disable")  # a loss that is no number shall be seen

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


@dataclass(frozen=True)
class SegmentationReport(_HasConfusion):
    """The evaluation over all pixels of a data set that are not ignored; shares are from 0 to 1."""

    images: int
    pixels: int
    """Pixels judged: those whose truth is a class."""
    loss: float
    """Mean cross-entropy over the pixels, in nats."""
    miou: float
    """Mean intersection over union of the classes that occur or are predicted."""
    mean_accuracy: float
    """Mean recall over the classes that occur."""
    pixel_accuracy: float
    confusion: Tensor
    """(classes, classes) int64, in pixels: rows true, columns predicted."""

    def per_class(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """One row per class: pixels, IoU, recall, precision (None where undefined), and its most
        frequent confusion.
        """
        scores = class_scores(self.confusion)
        return [
            {
                "class": name,
                "pixels": int(scores.support[label]),
                "predicted": int(scores.predicted[label]),
                "iou": _number(scores.iou[label]),
                "recall": _number(scores.recall[label]),
                "precision": _number(scores.precision[label]),
                "most_confused_with": most_confused_with(self.confusion, label, names),
            }
            for label, name in enumerate(names)
        ]


class ImageScore(NamedTuple):
    """How one image was segmented; None where it has no pixel to judge."""

    pixels: int
    accuracy: float | None
    miou: float | None


class SegmentationMetrics(nn.Module):
    """Adds up one confusion matrix over all pixels of all images and processes, into a
    `SegmentationReport`.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.confusion = MulticlassConfusionMatrix(
            num_classes, ignore_index=IGNORE, validate_args=False
        )
        self.loss = SumMetric(nan_strategy="disable")  # a loss that is no number shall be seen
        self.images = SumMetric()

    def update(self, labels: Tensor, truth: Tensor, loss: Tensor) -> ImageScore:
        """Add an image: predicted and true labels (H, W), and its pixels' cross-entropies, summed
        in any parts.

        They are put together on the CPU: Apple's GPUs have no float64.

        Returns:
            The image's own numbers.
        """
        confusion: Tensor = self.confusion(labels.flatten().long(), truth.flatten().long()).cpu()
        self.images.update(1)
        self.loss.update(loss.cpu().double().sum())
        pixels = int(confusion.sum())
        if not pixels:
            return ImageScore(0, None, None)
        miou = class_scores(confusion).iou.nanmean().item()
        return ImageScore(pixels, int(confusion.diag().sum()) / pixels, miou)

    def reset(self) -> None:
        """Forget everything."""
        for metric in (self.confusion, self.loss, self.images):
            metric.reset()

    def compute(self) -> SegmentationReport:
        """The report over everything since the last reset."""
        confusion = self.confusion.compute().cpu().long()
        scores = class_scores(confusion)
        return SegmentationReport(
            images=int(self.images.compute()),
            pixels=int(confusion.sum()),
            loss=self.loss.compute().item() / max(1, int(confusion.sum())),
            miou=torch.nanmean(scores.iou).item(),
            mean_accuracy=torch.nanmean(scores.recall).item(),
            pixel_accuracy=(confusion.diag().sum() / confusion.sum()).item(),
            confusion=confusion,
        )
