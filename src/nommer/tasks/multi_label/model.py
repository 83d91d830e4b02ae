"""Multi-label classification: a classifier that answers every class that is probable enough."""

from dataclasses import replace
from typing import Any

from nommer.errors import InputError
from nommer.models.classification import Classifier
from nommer.settings.train import TrainSettings
from nommer.tasks.classification.model import ClassificationModel
from nommer.tasks.data import Found

THRESHOLD = 0.5
"""Probability from which a trained model answers a class; `predict --threshold` takes another."""


class MultiLabelModel(ClassificationModel):
    """A network with a classifier whose classes do not exclude each other."""

    def fill_in(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """Return what one class each has, without what needs one class each."""
        for name in ("mixup", "cutmix"):
            if getattr(settings.augment, name):
                raise InputError(f"--augment.{name}: is for images of one class each; leave it out")
        smoothing = settings.optim.label_smoothing or 0.0
        return super().fill_in(
            replace(settings, optim=replace(settings.optim, label_smoothing=smoothing)), found
        )

    def build(self, settings: TrainSettings, data: Any) -> Classifier:
        """Return the network with its classifier and the threshold of its answers."""
        model = super().build(settings, data)
        model.threshold = THRESHOLD
        return model
