"""Semantic segmentation in the engine: the Lightning module, and what the verbs ask of the task."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nommer.acceleration.compile import compiled
from nommer.data.formats.labelled import split_randomly
from nommer.data.formats.masks import read_mask_folders
from nommer.data.joint_transforms import DensePreprocessing
from nommer.data.mask_audit import audit_masks, read_pairs
from nommer.data.masks import IGNORE
from nommer.data.module import ImageData, Loading
from nommer.data.segmentation import SegmentationBatch, SegmentationData
from nommer.models.output import describe_labels
from nommer.models.segmentation import Segmenter
from nommer.models.storage import load_backbone
from nommer.models.upernet import UPerNet
from nommer.settings.inference import Inference
from nommer.settings.optim import Optim
from nommer.settings.segmentation import JointAugmentation
from nommer.settings.train import TrainSettings, default_crop
from nommer.tasks.metrics import SegmentationMetrics
from nommer.tasks.module import TaskModule
from nommer.tasks.networks import build_network, count_features, resolve_network, tell_loaded
from nommer.tasks.resolve import loading_of
from nommer.tasks.segmentation.results import save_evaluation, save_training_batch
from nommer.tasks.task import Auditing, Data, Evaluation, Found, Task


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

    def training_step(self, batch: SegmentationBatch, batch_idx: int) -> Tensor:
        """Cross-entropy over the pixels of the batch, and as much again of the auxiliary head as
        its weight says.
        """
        network = cast("UPerNet", self.model.network)
        logits, auxiliary = (self.compiled or network.forward_with_auxiliary)(batch.images)
        loss = self.loss(logits, batch.masks)
        if auxiliary is not None:
            loss = loss + self.auxiliary_weight * self.loss(auxiliary, batch.masks)
        return self.log_loss(loss, len(batch.images))

    def loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Mean over the pixels that count of (B, classes, H, W) scores; 0 where none does."""
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
        """Judge one image at its own size, the way `predict` answers it, and return its labels (H,
        W).
        """
        truth = batch.masks[0]
        labels, losses = torch.empty_like(truth), []
        for start, scores in self.model.score_bands(
            batch.images, size=(truth.shape[0], truth.shape[1]), inference=self.inference
        ):
            rows = slice(start, start + scores.shape[1])
            labels[rows] = scores.argmax(0)
            losses.append(
                F.cross_entropy(
                    scores[None], truth[None, rows], ignore_index=IGNORE, reduction="sum"
                )
            )
        self.answers[int(batch.indices[0])] = self.metrics.update(
            labels, truth, torch.stack(losses)
        )
        return labels

    def on_validation_epoch_end(self) -> None:
        """Finish the evaluation and log its numbers."""
        self.finish_validation(self.metrics.compute())


class SegmentationTask(Task):
    """Images and masks."""

    name, module = "segmentation", SegmentationModule
    options = frozenset({"segmentation"})
    largest_default_batch = 8
    has_inference = True
    synchronise_norms = True
    plots = "curves.png, iou.png, confusion_matrix.png, nominations.png, val_predictions.jpg"

    def read(
        self, root: Path, *, classes: Path | None, class_names: tuple[str, ...] | None = None
    ) -> Data:
        """Find the pairs of images and masks under `root`."""
        return read_mask_folders(root, classes=classes, class_names=class_names)

    def describe_classes(self, data: Any) -> dict[str, Any]:
        """Name, colour and label of each class, and the values and colours in the mask files that
        mean it.
        """
        described = describe_labels(data.class_names, data.colours)
        encoding = data.encoding
        values = {str(value): label for value, label in sorted(encoding.values.items())}
        colours = {str(list(colour)): label for colour, label in sorted(encoding.colours.items())}
        return {"classes": described, "values": values, "colours": colours}

    def split(self, data: Any, *, fraction: float, seed: int) -> Data:
        """Hold back a fraction of the images."""
        return split_randomly(data, fraction=fraction, seed=seed)

    def inspect(self, data: Any) -> list[Any]:
        """Every image with its mask, whole."""
        return read_pairs(data, whole=True)

    def audit(self, data: Any, how: Auditing) -> Found:
        """Decode every image and mask once."""
        return audit_masks(
            data,
            on_bad_sample=how.on_bad_sample,
            training=how.training,
            reports=how.reports,
            reading=how.reading,
        )

    def fill_in(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """Crop size from the data, patch, window and blocks from the crop size, decoder from the
        backbone.
        """
        settings = settings.for_whole_images(self.name)
        image_size = settings.image_size or default_crop(
            settings.segmentation.short_side or found.short_side
        )
        network = resolve_network(settings.network, settings.model, image_size)
        settings = replace(settings, image_size=image_size, network=network)
        return replace(
            settings,
            optim=settings.optim.resolved(schedule="poly", label_smoothing=0.0),
            segmentation=settings.segmentation.resolved(count_features(settings)),
        )

    def build_model(self, settings: TrainSettings, data: Any) -> Segmenter:
        """The backbone with fresh or given weights, the decoder with fresh ones."""
        options = settings.segmentation
        backbone = build_network(settings, num_classes=0)
        network = UPerNet(
            backbone,
            num_classes=len(data.class_names),
            decoder_channels=options.decoder_channels or 0,
            auxiliary_channels=options.auxiliary_channels or 0 if options.auxiliary_weight else 0,
            dropout=options.dropout,
        )
        if settings.pretrained is not None:
            tell_loaded(*load_backbone(network, settings.pretrained), settings.pretrained)
        preprocessing = DensePreprocessing(
            image_size=settings.image_size or 0,
            short_side=options.short_side,
            long_side=options.long_side,
            **settings.normalisation,
        )
        return Segmenter(
            network, class_names=data.class_names, colours=data.colours, preprocessing=preprocessing
        )

    def training_data(
        self, settings: TrainSettings, data: Any, model: Segmenter
    ) -> ImageData[Any, Any]:
        """Augmented crops, and validation images as they are."""
        return SegmentationData(
            data.splits["train"],
            data.splits["val"],
            encoding=data.encoding,
            preprocessing=model.preprocessing,
            augmentation=settings.segmentation.augment,
            loading=loading_of(settings),
        )

    def evaluation_data(self, data: Any, model: Segmenter, loading: Loading) -> ImageData[Any, Any]:
        """All samples, one at a time."""
        return SegmentationData(
            data.samples(),
            data.samples(),
            encoding=data.encoding,
            preprocessing=model.preprocessing,
            augmentation=JointAugmentation(),
            loading=loading,
        )

    def training_module(
        self, settings: TrainSettings, model: Segmenter, *, lr: float, found: Found
    ) -> TaskModule:
        """Cross-entropy of both heads, weighted by class where asked for."""
        options = settings.segmentation
        weights = median_weights(found.class_counts) if options.class_weights == "median" else None
        return SegmentationModule(
            model,
            auxiliary_weight=options.auxiliary_weight,
            class_weights=weights,
            optim=settings.optim,
            lr=lr,
            seed=settings.seed,
        )

    def evaluation_module(self, model: Segmenter, data: Data, inference: Inference) -> TaskModule:
        """Without an optimiser that matters."""
        return SegmentationModule(model, inference=inference, optim=Optim(), lr=1.0)

    def save_training_batch(self, data: Any, model: Segmenter, path: Path) -> None:
        """The first crops, augmented, beside their masks."""
        save_training_batch(data, model, path)

    def save_evaluation(
        self,
        evaluation: Evaluation,
        model: Segmenter,
        data: Any,
        out: Path,
        *,
        facts: Mapping[str, Any],
    ) -> None:
        """Numbers, tables, IoU per class, confusion, pictures."""
        save_evaluation(evaluation, model, data.encoding, out, facts=facts)


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
