"""Segmentation: a temperature of the pixels, and intervals over images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from nommer.models.segmentation import Segmenter
from nommer.tasks.calibration import OneOfAll
from nommer.tasks.deciding import OneAnswerDeciding
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.segmentation.studying import class_pixels, resampled_miou


class SegmentationDeciding(OneAnswerDeciding):
    """One temperature for all pixels, which changes no label."""

    def evidence(self, evaluation: Evaluation, model: Segmenter) -> OneOfAll:
        """Return the scores of some pixels of every image."""
        kept = evaluation.evidence
        images = [torch.full((len(one.truth),), number) for number, one in enumerate(kept)]
        found = OneOfAll(
            torch.cat([one.logits for one in kept]),
            torch.cat([one.truth for one in kept]),
            torch.cat(images),
        )
        found.unit = "pixels"
        return found

    def resampled(
        self, evaluation: Evaluation, model: Segmenter, data: Any, times: np.ndarray
    ) -> Mapping[str, np.ndarray]:
        """Return mIoU and pixel accuracy."""
        pixels = class_pixels(evaluation)
        right, known = pixels[:, 0].sum(1), pixels[:, 1].sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            accuracy = (times @ right) / (times @ known)
        return {"miou": resampled_miou(pixels, times), "pixel_accuracy": accuracy}
