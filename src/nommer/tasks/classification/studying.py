"""Classification in a study: changed classes, and one class for all of an image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from nommer.models.recogniser import Recogniser
from nommer.nominations.patterns import Facet
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.studying import FACETS, AnswerChange, KnownRegions, Study


class ChangedClasses(AnswerChange):
    """The class answered, its probability, and whether it is right."""

    def resampled(self, evaluation: Evaluation, times: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return top-1."""
        answered = torch.stack(evaluation.answers).argmax(1).numpy()
        right = answered == np.array([sample.label for sample in evaluation.samples])
        with np.errstate(invalid="ignore"):
            return {"top1": times @ right / times.sum(1)}

    def difference(
        self, first: Evaluation, other: Evaluation
    ) -> Mapping[str, np.ndarray | float | None]:
        """Return which answers changed, and by how much the answered class's probability did."""
        before, after = (
            torch.stack(evaluation.answers).double().numpy() for evaluation in (first, other)
        )
        answered, everyone = before.argmax(1), np.arange(len(before))
        return {
            "changed_answers": (after.argmax(1) != answered).astype(float),
            "probability_change": after[everyone, answered] - before[everyone, answered],
        }


class ClassOfImage(KnownRegions):
    """One class for all of an image, and nothing of where things are."""

    def __init__(self, model: Recogniser) -> None:
        self.facets = (Facet("class", model.class_names, "tokens"),)
        why = "the data have one class per image, and neither boxes nor masks"
        self.absent = {name: why for name in FACETS if name != "class"}

    def groups(self, batch: Any, index: int, sample: Any, token: float) -> dict[str, np.ndarray]:
        """Return the image's class."""
        return {"class": np.array([[int(batch.labels[index])]])}


STUDY = Study(
    changes=ChangedClasses,
    regions=ClassOfImage,
    wording={
        "class_of": "The class is that of the image.",
        "objects": "",
        "borders": "",
        "what": "",
    },
)
