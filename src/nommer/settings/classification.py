"""Classes of different size."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from nommer.settings.schema import Settings


@dataclass(frozen=True, kw_only=True)
class ClassificationOptions(Settings):
    """Remedies for classes of different size; one of both is enough.

    Raises:
        InputError: another word; the message names it.
    """

    prefix: ClassVar[str] = "classification."

    class_weights: Literal["none", "balanced"] = "none"
    """Weight of each class in the loss: all 1, or images / (classes * images of the class)."""
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    """Images of an epoch: each once; or as many of every class, those of small classes
    several times.
    """
