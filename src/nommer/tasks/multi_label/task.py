"""Classification where an image may have several classes, or none.

What differs from one class each.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from nommer.data.classification import ClassificationBatch
from nommer.errors import InputError
from nommer.models.classification import Classifier
from nommer.settings.inference import Inference
from nommer.settings.optim import Optim
from nommer.settings.train import TrainSettings
from nommer.tasks.classification.task import ClassificationModule, ClassificationTask
from nommer.tasks.module import TaskModule
from nommer.tasks.multi_label.metrics import MultiLabelMetrics
from nommer.tasks.multi_label.results import save_evaluation
from nommer.tasks.task import Data, Evaluation, Found

THRESHOLD = 0.5
"""Probability from which a trained model answers a class; `predict --threshold` takes another."""


class MultiLabelModule(ClassificationModule):
    """A classifier whose classes do not exclude each other.

    `answers` holds the probability of each per sample.
    """

    measure, measure_name = "mean_ap", "mAP"
    curves: ClassVar[Mapping[str, str]] = {
        "mAP": "mean_ap",
        "macro F1": "macro_f1",
        "exact match": "exact_match",
    }

    def __init__(self, model: Classifier, **options: Any) -> None:
        super().__init__(model, **options)
        self.metrics = MultiLabelMetrics(len(model.class_names), model.threshold or THRESHOLD)  # type: ignore[assignment]

    def training_step(self, batch: ClassificationBatch, batch_idx: int) -> Tensor:
        """Binary cross-entropy of every class, against labels of 0 and 1, which smoothing brings
        closer to 1/2.
        """
        smoothing = self.optim.label_smoothing or 0.0
        targets = batch.labels * (1 - smoothing) + smoothing / 2
        logits = (self.compiled or self.model)(batch.images)
        return self.log_loss(
            F.binary_cross_entropy_with_logits(logits.float(), targets), len(batch.images)
        )


class MultiLabelTask(ClassificationTask):
    """Images in a table, with any number of classes each."""

    name, module = "multi-label classification", MultiLabelModule
    options = frozenset({"augment"})
    plots = "curves.png, precision_recall.png, nominations.png, val_predictions.jpg"

    def fill_in(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """As for one class each, without what needs one class each."""
        for name in ("mixup", "cutmix"):
            if getattr(settings.augment, name):
                raise InputError(f"--augment.{name}: is for images of one class each; leave it out")
        smoothing = settings.optim.label_smoothing or 0.0
        return super().fill_in(
            replace(settings, optim=replace(settings.optim, label_smoothing=smoothing)), found
        )

    def build_model(self, settings: TrainSettings, data: Data) -> Classifier:
        """The network with its classifier, which answers every class that is probable enough."""
        model = super().build_model(settings, data)
        model.threshold = THRESHOLD
        return model

    def training_module(
        self, settings: TrainSettings, model: Classifier, *, lr: float, found: Found
    ) -> TaskModule:
        """Binary cross-entropy."""
        return MultiLabelModule(model, optim=settings.optim, lr=lr, seed=settings.seed)

    def evaluation_module(self, model: Classifier, data: Data, inference: Inference) -> TaskModule:
        """Without an optimiser that matters."""
        return MultiLabelModule(model, optim=Optim(), lr=1.0)

    def save_evaluation(
        self,
        evaluation: Evaluation,
        model: Classifier,
        data: Data,
        out: Path,
        *,
        facts: Mapping[str, Any],
    ) -> None:
        """Numbers, tables, precision-recall curves, pictures."""
        save_evaluation(evaluation, model, out, facts=facts)
