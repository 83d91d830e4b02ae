"""Calibration: how well probabilities say how often answers are right, and what mends it.

Scores (logits) are divided by a temperature, which is found on validation images by the least
negative log-likelihood; scores that decide each by itself may get an offset too, for every
class its own. Either is kept only where it pays on images that it was not found on: the two halves
of the images, each measured with what the other one says.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017; Platt, "Probabilistic
Outputs for Support Vector Machines", 1999 (offset).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from nommer.models.decisions import Decisions

BINS = 15

_COLDEST, _HOTTEST = np.log(0.05), np.log(20.0)

_LEAST_OF_A_CLASS = 20
"""Right answers, and wrong ones, of a class that gets a temperature of its own."""

_FARTHEST = 10.0
"""Largest offset."""

_WORTH = 0.005
"""Share of the loss by which a way must be better than a simpler one, on other images."""

_LEAST = 100
"""Answers from which on a temperature is looked for."""


@dataclass(frozen=True)
class Calibration:
    """Measures of how well probabilities fit the truth; all better the lower."""

    nll: float
    """Mean negative log-likelihood, in nats."""
    ece: float
    """Expected calibration error (L1, 15 bins), from 0 to 1."""
    brier: float
    """Mean squared distance of the probabilities from the truth, over classes where there are
    several."""

    def to_dict(self) -> dict[str, float]:
        """Return plain values for JSON."""
        return asdict(self)


class Evidence(ABC):
    """Scores with the truth, n of them.

    Args:
        logits: the scores.
        truth: what is true of each.
        images: (n,) int64, the image that each is of; halves are halves of the images.
    """

    unit: str
    """The name of the n, for people."""
    per_class = False
    """A temperature per class changes no ranking."""

    def __init__(self, logits: Tensor, truth: Tensor, images: Tensor) -> None:
        self.logits, self.truth, self.images = logits.double(), truth, images

    def __len__(self) -> int:
        return len(self.logits)

    @abstractmethod
    def take(self, chosen: Tensor) -> "Evidence":
        """Return a part, (n,) bool."""

    @abstractmethod
    def losses(self, scaling: Tensor) -> Tensor:
        """Return (n,) negative log-likelihoods."""

    @abstractmethod
    def squares(self, scaling: Tensor) -> Tensor:
        """Return (n,) squared distances of the probabilities from the truth, over all classes."""

    @abstractmethod
    def answers(self, scaling: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probability of every answer (n,), and whether it is right, (n,) bool."""

    def measure(self, scaling: Tensor) -> Calibration:
        """Return how well the probabilities fit."""
        sure, right = self.answers(scaling)
        error = binary_calibration_error(
            sure.float(), right.long(), n_bins=BINS, validate_args=False
        )
        losses, squares = self.losses(scaling), self.squares(scaling)
        return Calibration(losses.mean().item(), error.item(), squares.mean().item())


class OneOfAll(Evidence):
    """Scores (n, classes) of things of one class each: softmax, and one temperature.

    One per class would change which class is answered.
    """

    unit = "images"

    def take(self, chosen: Tensor) -> "OneOfAll":
        """Return a part."""
        part = type(self)(self.logits[chosen], self.truth[chosen], self.images[chosen])
        part.unit = self.unit
        return part

    def losses(self, scaling: Tensor) -> Tensor:
        """Return cross-entropies."""
        return F.cross_entropy(self.logits / scaling[0], self.truth, reduction="none")

    def squares(self, scaling: Tensor) -> Tensor:
        """Return the Brier score of each."""
        probabilities = (self.logits / scaling[0]).softmax(-1)
        truth = F.one_hot(self.truth, probabilities.shape[1])
        return (probabilities - truth).square().sum(1)

    def answers(self, scaling: Tensor) -> tuple[Tensor, Tensor]:
        """Return the top probabilities."""
        best, label = (self.logits / scaling[0]).softmax(-1).max(-1)
        return best, label == self.truth


class EachByItself(Evidence):
    """Scores (n,) that are true or not, each of a class: sigmoid, and temperatures by class.

    Args:
        logits: (n,).
        truth: (n,) bool.
        images: (n,).
        labels: (n,) classes.
        classes: how many there are.
    """

    unit = "answers"
    per_class = True

    def __init__(
        self, logits: Tensor, truth: Tensor, images: Tensor, *, labels: Tensor, classes: int
    ) -> None:
        super().__init__(logits, truth, images)
        self.labels, self.classes = labels, classes

    def take(self, chosen: Tensor) -> "EachByItself":
        """Return a part."""
        return EachByItself(
            self.logits[chosen],
            self.truth[chosen],
            self.images[chosen],
            labels=self.labels[chosen],
            classes=self.classes,
        )

    def scaled(self, scaling: Tensor) -> Tensor:
        """Return the scores divided by the temperatures of their classes, with their offsets."""
        temperatures, offsets = scaling[:, self.labels] if scaling.shape[1] > 1 else scaling
        return self.logits / temperatures + offsets

    def losses(self, scaling: Tensor) -> Tensor:
        """Return binary cross-entropies."""
        return F.binary_cross_entropy_with_logits(
            self.scaled(scaling), self.truth.double(), reduction="none"
        )

    def squares(self, scaling: Tensor) -> Tensor:
        """Return the Brier score of each."""
        return (self.scaled(scaling).sigmoid() - self.truth.double()).square()

    def answers(self, scaling: Tensor) -> tuple[Tensor, Tensor]:
        """Return every probability."""
        return self.scaled(scaling).sigmoid(), self.truth.bool()


NEUTRAL = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
"""The scaling that changes nothing: temperature 1, offset 0."""


def scaling_of(decisions: Decisions) -> Tensor:
    """Return temperatures and offsets as (2, 1 or classes); neutral where there are none."""
    if not decisions.temperatures:
        return NEUTRAL
    offsets = decisions.offsets or (0.0,) * len(decisions.temperatures)
    return torch.tensor([decisions.temperatures, offsets], dtype=torch.float64)


def find_scaling(evidence: Evidence) -> Mapping[str, Any]:
    """Return the temperatures and offsets that pay, as fields of `Decisions`, if any do."""
    if len(evidence) < _LEAST:
        return {}
    ways: list[Callable[[Evidence], Tensor]] = [_temperature]
    if isinstance(evidence, EachByItself):
        ways += [_with_offset, *([_per_class] if evidence.classes > 1 else [])]
    found, least = NEUTRAL, _held_out(evidence, lambda _: NEUTRAL)
    for way in ways:
        if (loss := _held_out(evidence, way)) < (1 - _WORTH) * least:
            found, least = way(evidence), loss
    if found is NEUTRAL:
        return {}
    temperatures, offsets = (tuple(round(v, 6) for v in row) for row in found.tolist())
    return {"temperatures": temperatures} | ({"offsets": offsets} if any(offsets) else {})


def _held_out(evidence: Evidence, way: Callable[[Evidence], Tensor]) -> float:
    """Return the mean loss of both halves of the images, by the scaling of the other."""
    images = torch.unique(evidence.images)
    drawn = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    first = torch.isin(evidence.images, drawn[: len(drawn) // 2])
    halves = evidence.take(first), evidence.take(~first)
    if not all(map(len, halves)):
        return float("inf")
    losses = [one.losses(way(other)) for one, other in (halves, halves[::-1])]
    return torch.cat(losses).mean().item()


def _temperature(evidence: Evidence) -> Tensor:
    """Return the temperature of the least loss, without an offset."""

    def loss(logarithm: float) -> float:
        return evidence.losses(torch.tensor([[np.exp(logarithm)], [0.0]])).mean().item()

    found = minimize_scalar(loss, bounds=(_COLDEST, _HOTTEST), method="bounded")
    return torch.tensor([[float(np.exp(found.x))], [0.0]], dtype=torch.float64)


def _with_offset(evidence: Evidence) -> Tensor:
    """Return temperature and offset of the least loss."""
    bounds = [(_COLDEST, _HOTTEST), (-_FARTHEST, _FARTHEST)]

    def loss(values: np.ndarray) -> float:
        scaling = torch.tensor([[np.exp(values[0])], [values[1]]], dtype=torch.float64)
        return evidence.losses(scaling).mean().item()

    found = minimize(loss, np.zeros(2), bounds=bounds, method="L-BFGS-B").x
    return torch.tensor([[float(np.exp(found[0]))], [float(found[1])]], dtype=torch.float64)


def _per_class(evidence: Evidence) -> Tensor:
    """Return both for each class; those of all classes for one with few examples."""
    if not isinstance(evidence, EachByItself):
        raise TypeError("only scores that decide each by itself are scaled by class")
    of_all = _with_offset(evidence)
    found = []
    for label in range(evidence.classes):
        part = evidence.take(evidence.labels == label)
        right = int(part.truth.sum())
        enough = min(right, len(part) - right) >= _LEAST_OF_A_CLASS
        found.append(_with_offset(part) if enough else of_all)
    return torch.cat(found, 1)


def before_and_after(evidence: Evidence, decisions: Decisions) -> dict[str, Any]:
    """Return what is measured, and how well calibrated it is before and after."""
    if not len(evidence):
        return {"of": evidence.unit, "count": 0}
    numbers = {"before": NEUTRAL, "after": scaling_of(decisions)}
    return {
        "of": evidence.unit,
        "count": len(evidence),
        **{name: evidence.measure(value).to_dict() for name, value in numbers.items()},
    }


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the share of mistakes among the surest k answers, (n,), and the mean of these.

    The latter is the area under the risk-coverage curve (AURC): 0 is best, and the error rate is
    what confidence by chance would get.

    Source: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017.
    """
    order = np.argsort(-confidence, kind="stable")
    risk = np.cumsum(~right[order]) / np.arange(1, len(right) + 1)
    return risk, float(risk.mean())
