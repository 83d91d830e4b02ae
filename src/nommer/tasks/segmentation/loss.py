"""Segmentation: cross-entropy over pixels, and the Lightning module that learns by it."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nommer.acceleration.compile import compiled
from nommer.data.masks import IGNORE
from nommer.data.segmentation import SegmentationBatch
from nommer.models.segmentation import Segmenter
from nommer.models.upernet import UPerNet
from nommer.settings.inference import Inference
from nommer.settings.optim import Optim
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Data, Found
from nommer.tasks.module import TaskModule
from nommer.tasks.segmentation.evidence import PixelSample
from nommer.tasks.segmentation.metrics import SegmentationMetrics


class SegmentationModule(TaskModule):
    """A segmenter with its losses and metrics.

    `answers` holds the numbers of each sample of this process.
    """

    measure, measure_name = "miou", "mIoU"
    curves: ClassVar[Mapping[str, str]] = {
        "mIoU": "miou",
        "mean accuracy": "mean_accuracy",
        "pixel accuracy": "pixel_accuracy",
    }

    model: Segmenter
    class_weights: Tensor | None

    def __init__(
        self,
        model: Segmenter,
        *,
        auxiliary_weight: float = 0.4,
        class_weights: Tensor | None = None,
        inference: Inference = Inference(),
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.auxiliary_weight, self.inference = auxiliary_weight, inference
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.metrics = SegmentationMetrics(len(model.class_names))

    @classmethod
    def for_training(
        cls, settings: TrainSettings, model: Segmenter, *, lr: float, found: Found
    ) -> TaskModule:
        """Return cross-entropy of both heads, weighted by class where asked for."""
        options = settings.segmentation
        weights = median_weights(found.class_counts) if options.class_weights == "median" else None
        return cls(
            model,
            auxiliary_weight=options.auxiliary_weight,
            class_weights=weights,
            optim=settings.optim,
            lr=lr,
            seed=settings.seed,
        )

    @classmethod
    def for_evaluation(cls, model: Segmenter, data: Data, inference: Inference) -> TaskModule:
        """Return the model without an optimiser that matters."""
        return cls(model, inference=inference, optim=Optim(), lr=1.0)

    def training_step(self, batch: SegmentationBatch, batch_idx: int) -> Tensor:
        """Return cross-entropy over the pixels of the batch, and the weighted auxiliary head's."""
        network = cast("UPerNet", self.model.network)
        with self.observed() as seen:
            logits, auxiliary = (self.compiled or network.forward_with_auxiliary)(batch.images)
        loss = self.loss(logits, batch.masks)
        if auxiliary is not None:
            loss = loss + self.auxiliary_weight * self.loss(auxiliary, batch.masks)
        return self.log_loss(self.aided(loss, seen), len(batch.images))

    def loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Mean over the pixels that count of (B, classes, H, W) scores; 0 where none does."""
        if self.own_loss is not None:
            return self.own_loss(logits.float(), masks)
        smoothing = self.optim.label_smoothing or 0.0
        nothing = (masks == IGNORE).all()  # asking for it in Python would make the GPU wait
        some_class = 0 if self.class_weights is None else self.class_weights.argmax()
        loss = F.cross_entropy(
            logits.float(),
            masks.masked_fill(nothing, some_class),
            weight=self.class_weights,
            ignore_index=IGNORE,
            label_smoothing=smoothing,
        )
        return torch.where(nothing, loss * 0.0, loss)

    def compile_training(self) -> None:
        """Compile the network with both heads."""
        self.compiled = compiled(cast("UPerNet", self.model.network).forward_with_auxiliary)

    def on_validation_epoch_start(self) -> None:
        """Start a new evaluation."""
        super().on_validation_epoch_start()
        self.metrics.reset()

    def validation_step(self, batch: SegmentationBatch, batch_idx: int) -> Tensor:
        """Evaluate one image at its own size, as `predict` answers it; return its labels (H, W)."""
        truth = batch.masks[0]
        labels, losses, index = torch.empty_like(truth), [], int(batch.indices[0])
        sample = PixelSample(truth, seed=index) if self.is_evaluating else None
        for start, scores in self.model.score_bands(
            batch.images, size=(truth.shape[0], truth.shape[1]), inference=self.inference
        ):
            rows = slice(start, start + scores.shape[1])
            labels[rows] = scores.argmax(0)
            if sample is not None:
                sample.add(start, scores)
            losses.append(
                F.cross_entropy(
                    scores[None], truth[None, rows], ignore_index=IGNORE, reduction="sum"
                )
            )
        self.answers[index] = self.metrics.update(labels, truth, torch.stack(losses))
        if sample is not None:
            self.evidence[index] = sample.evidence()
        return labels

    def on_validation_epoch_end(self) -> None:
        """Finish the evaluation and log its numbers."""
        self.finish_validation(self.metrics.compute())


def median_weights(class_pixels: np.ndarray) -> Tensor:
    """Median frequency balancing.

    The median share of the classes that occur, divided by each class's own; else 0.

    Args:
        class_pixels: (classes,) pixels of each class.

    Source: Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels", ICCV 2015,
    section 6.3.2, with shares of all pixels.
    """
    pixels = torch.as_tensor(class_pixels, dtype=torch.float64)
    occurs = pixels > 0
    weights = torch.where(occurs, pixels[occurs].median() / pixels.clamp_min(1), 0.0)
    return weights.float()
