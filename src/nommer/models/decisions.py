"""The decisions that a model's scores lead to: thresholds, temperatures, and when it refuses.

They are found on validation images at the end of a training (or by `evaluate --calibrate`), stand
in `model.json` and in the metadata of exports, and are applied by whatever answers.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nommer.errors import InputError
from nommer.models.familiarity import Familiarity
from nommer.models.thresholds import Threshold, in_words, least_scores

EDGE = 1e-7
"""Distance from 0 and 1 that a probability keeps where its logit is taken."""


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """Numbers found on validation images; a field at its default was not found."""

    threshold: float | None = None
    """Least score of an answer, by the best F1 of all classes together."""
    class_thresholds: tuple[float, ...] = ()
    """The same for every class, by its own F1."""
    temperatures: tuple[float, ...] = ()
    """By which scores (logits) are divided before they become probabilities: one, or one per
    class."""
    offsets: tuple[float, ...] = ()
    """Added to them afterwards, where classes are decided each by itself; as many."""
    familiarity: Familiarity | None = None
    """By which an image is told to show none of the classes."""
    images: int = 0
    """Validation images that all this was found on."""

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> "Decisions":
        """Read those of a checked description; none of an older one.

        Raises:
            InputError: not as many as there are classes.
        """
        told = dict(description.get("decisions", {}))
        for name, value in told.items():
            told[name] = tuple(map(float, value)) if isinstance(value, list) else value
        if told.get("familiarity") is not None:
            told["familiarity"] = Familiarity.of(told["familiarity"])
        found, classes = cls(**told), len(description["class_names"])
        for name, allowed in (
            ("class_thresholds", (0,)),
            ("temperatures", (0, 1)),
            ("offsets", (0, len(found.temperatures))),
        ):
            count = len(getattr(found, name))
            if count not in (*allowed, classes):
                raise InputError(f"decisions: {count} {name} for {classes} classes")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return what was found, as plain values for JSON."""
        usual = Decisions()
        told = {n: v for n, v in vars(self).items() if v != getattr(usual, n)}
        if self.familiarity is not None:
            told["familiarity"] = self.familiarity.to_dict()
        return {name: list(v) if isinstance(v, tuple) else v for name, v in told.items()}

    def as_entry(self) -> dict[str, Any]:
        """Return what was found as the entry of a description; nothing where nothing was."""
        told = self.to_dict()
        return {"decisions": told} if told else {}

    def told(self) -> dict[str, Any]:
        """Return what was found as `to_dict` does, without the statistics of images."""
        told = self.to_dict()
        if self.familiarity is not None:
            told["familiarity"] = {"limit": self.familiarity.limit, "rate": self.familiarity.rate}
        return told

    def in_words(self, class_names: tuple[str, ...]) -> str:
        """Return what was found as people say it; nothing where nothing was."""
        said = []
        if self.class_thresholds or self.threshold is not None:
            said.append(f"thresholds {in_words(self.thresholds(class_names, None), class_names)}")
        if self.temperatures:
            each = self.temperatures
            shown = f"{each[0]:.2f}" if len(each) == 1 else f"{min(each):.2f} to {max(each):.2f}"
            said.append(f"temperature {shown}")
        if self.familiarity is not None:
            share = f"{self.familiarity.rate:.0%}"
            said.append(f"a limit beyond which an image is none of the classes ({share} of them)")
        return ", ".join(said)

    def scaled(self, logits: Tensor) -> Tensor:
        """Return scores (..., classes) divided by the temperatures, with their offsets."""
        if not self.temperatures:
            return logits
        offsets = self.offsets or (0.0,)
        each = [logits.new_tensor(values) for values in (self.temperatures, offsets)]
        return logits / each[0] + each[1]

    def calibrated(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return scores of answers, (n,) from 0 to 1, as probabilities.

        Args:
            scores: of answers that are decided each by itself.
            labels: (n,) their classes.
        """
        if not self.temperatures:
            return scores
        temperatures, offsets = self._scaling(labels.cpu())
        logits = scores.cpu().double().clamp(EDGE, 1 - EDGE).logit()
        return (logits / temperatures + offsets).sigmoid().to(scores)

    def calibrated_score(self, score: float, label: int) -> float:
        """Return one score of a class as a probability."""
        one = torch.tensor([score], dtype=torch.float64)
        return float(self.calibrated(one, torch.tensor([label]))[0])

    def uncalibrated(self, probability: float, label: int) -> float:
        """Return the score that `calibrated` makes this probability."""
        if not self.temperatures:
            return probability
        temperature, offset = self._scaling(torch.tensor([label]))
        edged = torch.tensor(min(max(probability, EDGE), 1 - EDGE), dtype=torch.float64)
        return float(((edged.logit() - offset) * temperature).sigmoid()[0])

    def _scaling(self, labels: Tensor) -> Tensor:
        """Return (2, n): temperature and offset of each of the classes."""
        offsets = self.offsets or (0.0,) * len(self.temperatures)
        each = torch.tensor([self.temperatures, offsets], dtype=torch.float64)
        return each[:, labels] if each.shape[1] > 1 else each.expand(2, len(labels))

    def thresholds(self, class_names: tuple[str, ...], asked: Threshold) -> tuple[float, ...]:
        """Return the least score of an answer of each class; see `least_scores`."""
        found = self.class_thresholds
        if not found and self.threshold is not None:
            found = (self.threshold,) * len(class_names)
        return least_scores(class_names, asked, found)
