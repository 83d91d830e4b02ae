"""Classification in an export: the scores of the classes, and features to refuse images by."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nommer.models.classification import Classifier
from nommer.models.exported_networks import FEATURES, OUTPUT
from nommer.models.familiarity import scores_and_features
from nommer.shapes import Images
from nommer.tasks.exporting import (
    TOLERANCE,
    ParityReport,
    Prepared,
    Quantising,
    ScoresExport,
)
from nommer.tasks.image_size import ImageSize
from nommer.tasks.whole import WholeExport


class WithFeatures(nn.Module):
    """A classifier's network that gives what it sees early, too."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Images) -> tuple[Tensor, Tensor]:
        """Class scores (B, classes) of prepared images (B, 3, H, W), and features (B, width)."""
        scores, features = scores_and_features(self.network, images)
        if features is None:
            raise TypeError("the network tells no features")
        return scores, features


def tells_features(model: Classifier) -> bool:
    """Tell if a file of the model has to give features, by which images are refused."""
    familiarity = model.decisions.familiarity
    return familiarity is not None and familiarity.uses_features and model.threshold is None


class ClassificationExport(ScoresExport):
    """One score per class, and the features where the model refuses by them."""

    outputs = (OUTPUT,)
    parity_images = 32
    batches = (1, 2, 5, 16)
    quantising = Quantising(measure="top1", calibration_images=128, agreement_images=256, batch=16)

    @property
    def whole(self) -> WholeExport:
        """Return the parts around the network."""
        from nommer.tasks.classification.whole import WholeClassification  # noqa: PLC0415 - for whole files alone

        return WholeClassification()

    def outputs_of(self, model: Classifier) -> tuple[str, ...]:
        """Return the scores, and the features where they are asked for."""
        return (OUTPUT, FEATURES) if tells_features(model) else (OUTPUT,)

    def graph(self, model: Any) -> nn.Module:
        """Return the model, with its features where they are asked for."""
        return WithFeatures(model.network) if tells_features(model) else model

    def compare(
        self, reference: Any, exported: Any, images: Prepared, size: ImageSize
    ) -> ParityReport:
        """Run both models as `ScoresExport` does, and compare the features at the usual size."""
        report = super().compare(reference, exported, images, size)
        if not tells_features(reference):
            return report
        seen = torch.stack(images) if isinstance(images, list) else images
        own, its = (scores_and_features(m.network, seen)[1] for m in (reference, exported))
        if own is None or its is None:
            return replace(report, passed=False)
        difference = ((own - its).abs().amax() / own.abs().amax().clamp_min(1)).item()
        largest = max(report.largest_difference, difference)
        passed = report.passed and difference <= TOLERANCE
        return replace(report, largest_difference=largest, passed=passed)

    def left_out(self, model: Classifier, size: ImageSize) -> tuple[str, ...]:
        """List the function from scores to probabilities."""
        return (f"the {'softmax' if model.threshold is None else 'sigmoid'} of the scores",)
