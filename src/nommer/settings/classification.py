"""Classes of different size."""

from dataclasses import dataclass
from typing import Literal

from nommer.errors import check_words


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
