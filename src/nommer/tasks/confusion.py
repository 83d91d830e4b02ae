"""Per-class scores of a confusion matrix."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor


class HasConfusion:
    """A report whose fields are numbers but for the confusion matrix."""

    def summary(self) -> dict[str, Any]:
        """Return the numbers without the matrix, for JSON and the screen."""
        return {name: value for name, value in vars(self).items() if name != "confusion"}


class ClassScores(NamedTuple):
    """Per class, (classes,) float64; NaN where the denominator is 0."""

    support: Tensor
    predicted: Tensor
    recall: Tensor
    precision: Tensor
    f1: Tensor
    iou: Tensor


def class_scores(confusion: Tensor) -> ClassScores:
    """Return the scores of each class by a confusion matrix (rows true, columns predicted)."""
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


def number(value: Tensor) -> float | None:
    """Return a score, None where it has no meaning."""
    return None if value.isnan() else value.item()
