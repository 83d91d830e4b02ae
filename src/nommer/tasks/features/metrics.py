"""The report of a pretraining: likeness to the teacher, and what a probe knows by the features."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImitationReport:
    """The evaluation on images held back; likenesses from -1 to 1, shares from 0 to 1."""

    class_measure: ClassVar[str] = "class"

    images: int
    loss: float
    """Mean squared error of standardised features, weighted as in training."""
    similarity: float
    """Mean of the next two."""
    map_similarity: float
    """Mean cosine of the student's projected maps and the teacher's."""
    pooled_similarity: float
    """Mean cosine of the pooled features."""
    knn: float | None = None
    """Images of the probe's val that their neighbours in its train know; None without a probe."""
    linear: float | None = None
    """Those that a linear classifier knows; None where it was not asked for."""

    @property
    def confusion(self) -> Tensor:
        """Nothing: there are no classes."""
        return torch.zeros(0, 0, dtype=torch.int64)

    def summary(self) -> dict[str, Any]:
        """Return the numbers that there are."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def per_class(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return no rows: there are no classes."""
        return []
