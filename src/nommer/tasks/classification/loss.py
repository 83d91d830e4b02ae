"""Classification: cross-entropy, and the Lightning module that learns by it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from timm.data import Mixup
from torch import Tensor

from nommer.acceleration.compile import compiled
from nommer.data.classification import ClassificationBatch
from nommer.data.transforms import mixing as mixing_of
from nommer.models.classification import Classifier
from nommer.models.familiarity import appearance, scores_and_features
from nommer.settings.inference import Inference
from nommer.settings.optim import Optim
from nommer.settings.train import TrainSettings
from nommer.shapes import Images, Logits
from nommer.tasks.classification.deciding import evidence_of
from nommer.tasks.classification.metrics import ClassificationMetrics
from nommer.tasks.data import Data, Found
from nommer.tasks.module import TaskModule


class ClassificationModule(TaskModule):
    """A classifier with its loss and metrics.

    `answers` holds the class probabilities per sample of this process.
    """

    measure, measure_name = "top1", "top-1"
    curves: ClassVar[Mapping[str, str]] = {"top-1": "top1", "mean per class": "mean_class_accuracy"}

    model: Classifier
    class_weights: Tensor | None

    def __init__(
        self,
        model: Classifier,
        *,
        mixing: Mixup | None = None,
        class_weights: Tensor | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.mixing = mixing
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.metrics = ClassificationMetrics(len(model.class_names))

    @classmethod
    def for_training(
        cls, settings: TrainSettings, model: Classifier, *, lr: float, found: Found
    ) -> TaskModule:
        """Return cross-entropy, with mixing where asked for."""
        mixing = mixing_of(
            settings.augment, len(model.class_names), settings.optim.label_smoothing or 0.0
        )
        weighted = settings.classification.class_weights == "balanced"
        weights = balanced_weights(found.data, len(model.class_names)) if weighted else None
        return cls(
            model,
            optim=settings.optim,
            lr=lr,
            mixing=mixing,
            class_weights=weights,
            seed=settings.seed,
        )

    @classmethod
    def for_evaluation(cls, model: Classifier, data: Data, inference: Inference) -> TaskModule:
        """Return the model without an optimiser that matters."""
        return cls(model, optim=Optim(), lr=1.0)

    def training_step(self, batch: ClassificationBatch, batch_idx: int) -> Tensor:
        """Cross-entropy against smoothed, and where asked for mixed, labels."""
        images, targets = batch.images, batch.labels
        if self.mixing is not None:
            images, targets = self.mixing(images, targets)
        smoothing = self.optim.label_smoothing or 0.0 if targets.ndim == 1 else 0.0
        with self.observed() as seen:
            logits = (self.compiled or self.model)(images)
        if self.own_loss is not None:
            loss = self.own_loss(logits.float(), targets)
        else:
            loss = F.cross_entropy(
                logits.float(), targets, weight=self.class_weights, label_smoothing=smoothing
            )
        return self.log_loss(self.aided(loss, seen, logits), len(images))

    def compile_training(self) -> None:
        """Compile the whole network."""
        self.compiled = compiled(self.model.forward)

    def on_validation_epoch_start(self) -> None:
        """Start a new evaluation."""
        super().on_validation_epoch_start()
        self.metrics.reset()

    def validation_step(self, batch: ClassificationBatch, batch_idx: int) -> None:
        """Collect scores."""
        if self.is_evaluating:
            logits, seen = self._scores_and_looks(batch.images)
            found = evidence_of(logits, seen)
            self.evidence.update(zip(batch.indices.tolist(), found, strict=True))
        else:
            logits = self.model(batch.images)
        self.metrics.update(logits, batch.labels)
        probabilities = self.model.probabilities(logits).cpu()
        self.answers.update(zip(batch.indices.tolist(), probabilities, strict=True))

    def _scores_and_looks(self, images: Images) -> tuple[Logits, Tensor | None]:
        """Return the scores, and the looks of images by which a model refuses some.

        None where none are to be refused, now or later.
        """
        if not self.finds_decisions and self.model.decisions.familiarity is None:
            return self.model(images), None
        logits, features = scores_and_features(self.model.network, images)
        return logits, appearance(images, features)

    def on_validation_epoch_end(self) -> None:
        """Finish the evaluation and log its numbers."""
        self.finish_validation(self.metrics.compute())


def balanced_weights(data: Data, num_classes: int) -> Tensor:
    """Weights that make every class count as much: images / (classes * images of the class).

    Source: King and Zeng, "Logistic Regression in Rare Events Data", 2001; scikit-learn calls it
    "balanced".
    """
    counts = torch.bincount(
        torch.tensor([sample.label for sample in data.splits["train"]]), minlength=num_classes
    )
    return counts.sum() / (num_classes * counts.clamp_min(1)).float()
