"""Multi-label classification: binary cross-entropy, and the Lightning module that learns by it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from nommer.data.classification import ClassificationBatch
from nommer.models.classification import Classifier
from nommer.settings.train import TrainSettings
from nommer.tasks.classification.loss import ClassificationModule
from nommer.tasks.data import Found
from nommer.tasks.module import TaskModule
from nommer.tasks.multi_label.metrics import MultiLabelMetrics
from nommer.tasks.multi_label.model import THRESHOLD


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

    @classmethod
    def for_training(
        cls, settings: TrainSettings, model: Classifier, *, lr: float, found: Found
    ) -> TaskModule:
        """Return binary cross-entropy."""
        return cls(model, optim=settings.optim, lr=lr, seed=settings.seed)

    def training_step(self, batch: ClassificationBatch, batch_idx: int) -> Tensor:
        """Return binary cross-entropy against 0 and 1, which smoothing brings closer to 1/2."""
        smoothing = self.optim.label_smoothing or 0.0
        targets = batch.labels * (1 - smoothing) + smoothing / 2
        with self.observed() as seen:
            logits = (self.compiled or self.model)(batch.images)
        criterion = self.own_loss or F.binary_cross_entropy_with_logits
        loss = criterion(logits.float(), targets)
        loss = self.aided(loss, seen, logits, multi_label=True)
        return self.log_loss(loss, len(batch.images))
