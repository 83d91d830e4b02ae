"""Metrics of segmentation, the same in the validation of training and in `evaluate`."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import SumMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from nommer.data.masks import IGNORE
from nommer.tasks.confusion import HasConfusion, class_scores, most_confused_with, number


@dataclass(frozen=True)
class SegmentationReport(HasConfusion):
    """The evaluation over all pixels of a data set that are not ignored; shares are from 0 to 1."""

    class_measure: ClassVar[str] = "iou"

    images: int
    pixels: int
    """Pixels whose truth is a class."""
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
        """Return one row per class, and its most frequent confusion; None where undefined."""
        scores = class_scores(self.confusion)
        return [
            {
                "class": name,
                "pixels": int(scores.support[label]),
                "predicted": int(scores.predicted[label]),
                "iou": number(scores.iou[label]),
                "recall": number(scores.recall[label]),
                "precision": number(scores.precision[label]),
                "most_confused_with": most_confused_with(self.confusion, label, names),
            }
            for label, name in enumerate(names)
        ]


class ImageScore(NamedTuple):
    """Measures of the segmentation of one image; None where the truth of no pixel is a class."""

    pixels: int
    accuracy: float | None
    miou: float | None
    classes: np.ndarray
    """(3, classes) int64: pixels found, true and predicted of each class."""


class SegmentationMetrics(nn.Module):
    """Adds up one confusion matrix over all images and processes: a `SegmentationReport`."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.confusion = MulticlassConfusionMatrix(
            num_classes, ignore_index=IGNORE, validate_args=False
        )
        self.loss = SumMetric(nan_strategy="disable")  # a loss of NaN shall be seen
        self.images = SumMetric()

    def update(self, labels: Tensor, truth: Tensor, loss: Tensor) -> ImageScore:
        """Add an image: predicted and true labels (H, W), and its pixels' cross-entropies.

        These are summed in any parts.

        They are put together on the CPU: Apple's GPUs have no float64.

        Returns:
            The image's own numbers.
        """
        confusion: Tensor = self.confusion(labels.flatten().long(), truth.flatten().long()).cpu()
        self.images.update(1)
        self.loss.update(loss.cpu().double().sum())
        pixels = int(confusion.sum())
        classes = torch.stack([confusion.diag(), confusion.sum(1), confusion.sum(0)]).numpy()
        if not pixels:
            return ImageScore(0, None, None, classes)
        miou = class_scores(confusion).iou.nanmean().item()
        return ImageScore(pixels, int(confusion.diag().sum()) / pixels, miou, classes)

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
