"""Metrics of multi-label classification, the same in training and in `evaluate`."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import (
    MultilabelAveragePrecision,
    MultilabelConfusionMatrix,
    MultilabelExactMatch,
)


@dataclass(frozen=True)
class MultiLabelReport:
    """The evaluation over a data set; shares from 0 to 1, None where a number has no meaning."""

    class_measure: ClassVar[str] = "ap"

    images: int
    loss: float
    """Mean binary cross-entropy over images and classes, in nats."""
    mean_ap: float
    """Mean average precision (mAP) over the classes that occur, at every threshold of the
    probability.
    """
    macro_f1: float
    """Mean F1 at the model's threshold, over the classes that occur or are answered."""
    micro_f1: float
    """F1 at the model's threshold, of all answers together."""
    exact_match: float
    """Share of images whose answered classes are all of theirs, and no others."""
    threshold: float
    """Probability from which a class is answered."""
    average_precision: Tensor
    """(classes,) float32: the area under each class's precision-recall curve; NaN where it does not
    occur.
    """
    confusion: Tensor
    """(classes, 2, 2) int64: for each class rows true, columns answered, no before yes."""

    def summary(self) -> dict[str, Any]:
        """The numbers without tables, for JSON and the screen."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, Tensor)}

    def per_class(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return one row per class, None where a number is undefined."""
        support, answered, hits = class_counts(self.confusion)
        columns = {
            "ap": self.average_precision.double(),
            "recall": hits / support,
            "precision": hits / answered,
            "f1": 2 * hits / (support + answered),
        }
        return [
            {
                "class": name,
                "images": int(support[label]),
                "predicted": int(answered[label]),
                **{column: _number(values[label]) for column, values in columns.items()},
            }
            for label, name in enumerate(names)
        ]


def class_counts(confusion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of (classes, 2, 2) counts, per class in float64.

    Images that are of it, that are answered, and that are both.
    """
    counts = confusion.double()
    return counts[:, 1].sum(1), counts[:, :, 1].sum(1), counts[:, 1, 1]


def _number(value: Tensor) -> float | None:
    return None if value.isnan() else value.item()


class MultiLabelMetrics(nn.Module):
    """Collects scores and labels over all processes into a `MultiLabelReport`."""

    def __init__(self, num_classes: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.precision = MultilabelAveragePrecision(
            num_classes, average="none", validate_args=False
        )
        self.confusion = MultilabelConfusionMatrix(
            num_classes, threshold=threshold, validate_args=False
        )
        self.exact = MultilabelExactMatch(num_classes, threshold=threshold, validate_args=False)
        self.loss = MeanMetric(nan_strategy="disable")  # a loss of NaN shall be seen

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (B, classes), labels (B, classes) of 0 and 1."""
        logits, truth = logits.float(), labels.long()
        probabilities = logits.sigmoid()
        for metric in (self.precision, self.confusion, self.exact):
            metric.update(probabilities, truth)
        losses = nn.functional.binary_cross_entropy_with_logits(
            logits, labels.float(), reduction="none"
        )
        self.loss.update(losses.mean(-1))

    def reset(self) -> None:
        """Forget everything."""
        for metric in (self.precision, self.confusion, self.exact, self.loss):
            metric.reset()

    def compute(self) -> MultiLabelReport:
        """The report over everything since the last reset."""
        confusion = self.confusion.compute().cpu().long()
        support, answered, hits = class_counts(confusion)
        precision = self.precision.compute().cpu()
        precision = torch.where(support > 0, precision, torch.nan)
        both = support + answered
        return MultiLabelReport(
            images=int(confusion[0].sum()),
            loss=self.loss.compute().item(),
            mean_ap=_mean(precision),
            macro_f1=_mean(2 * hits / both),
            micro_f1=_mean(2 * hits.sum() / both.sum()),
            exact_match=self.exact.compute().item(),
            threshold=self.threshold,
            average_precision=precision,
            confusion=confusion,
        )


def _mean(values: Tensor) -> float:
    """The mean of the numbers that have a meaning, 0 where none has."""
    return torch.nanmean(values).nan_to_num().item()
