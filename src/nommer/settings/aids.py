"""What may help a training along, besides optimiser and augmentation.

Nothing of it is on by default.
"""

from dataclasses import dataclass
from typing import Literal

from nommer.errors import InputError, check_words

LAST_STAGE = 4


@dataclass(frozen=True, kw_only=True)
class Aids:
    """Averaged weights, early stopping and frozen layers, for every task.

    Raises:
        InputError: a value out of range; the message names it.
    """

    ema: float | None = None
    """Decay of an exponential moving average of the weights, such as 0.999 (0.9999 for runs of
    100,000 steps): it is judged, kept as the best and delivered in their place. It warms up, so
    that short runs need no smaller one."""
    patience: int | None = None
    """Stop after so many epochs in a row without a better model. By default never."""
    min_delta: float = 0.0
    """With patience: by how much a better model must be better, from 0 to 1."""
    freeze: int | Literal["backbone"] = 0
    """Stages of the backbone, from the stem on, whose weights stay those of --pretrained (1 to 4);
    backbone for all but the classifier or the heads, which for classification is a linear probe.
    They run as in evaluation."""

    def __post_init__(self) -> None:
        if self.ema is not None and not 0 < self.ema < 1:
            raise InputError(f"aids.ema must be above 0 and below 1, got {self.ema}")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"aids.patience must be 1 or more, got {self.patience}")
        if not 0 <= self.min_delta < 1:
            raise InputError(f"aids.min_delta must be at least 0 and below 1, got {self.min_delta}")
        if self.min_delta and self.patience is None:
            raise InputError(
                "aids.min_delta: does nothing without aids.patience; give both or none"
            )
        if self.freeze != "backbone" and not 0 <= self.freeze <= LAST_STAGE:
            raise InputError(
                f"aids.freeze must be from 0 to {LAST_STAGE}, or backbone, got {self.freeze}"
            )


@dataclass(frozen=True, kw_only=True)
class ClassificationOptions:
    """What is done about classes of different size; one of both is enough.

    Raises:
        InputError: another word; the message names it.
    """

    class_weights: Literal["none", "balanced"] = "none"
    """Weight of each class in the loss: all 1, or images / (classes * images of the class)."""
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    """Which images an epoch has: each once; or as many of every class, those of small classes
    several times.
    """

    def __post_init__(self) -> None:
        check_words(self, "classification.")
