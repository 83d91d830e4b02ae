"""The scores of an image, and the answer that they lead to."""

import math
from dataclasses import dataclass

from nommer.predictions import Classification, Picture


@dataclass(frozen=True)
class ScoredImage:
    """One image, as a classifier sees it."""

    probabilities: list[float]
    refused: bool | None
    """None where the model does not know, or is not asked."""
    least: tuple[float, ...]
    """Probability from which each class is answered; nothing where each image has one."""

    def named(
        self,
        name: str,
        class_names: tuple[str, ...],
        threshold: float | None,
        picture: Picture | None = None,
    ) -> Classification | None:
        """Return the answer to the image of a name; None where the scores are NaN or infinite."""
        if not math.isfinite(sum(self.probabilities)):
            return None
        answer = Classification(
            name,
            class_names,
            tuple(self.probabilities),
            threshold,
            picture,
            none_of_these=self.refused,
        )
        return answer.by_thresholds(self.least)
