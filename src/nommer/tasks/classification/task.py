"""Image classification in the engine: the Lightning module, and what the verbs ask of the task."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from timm.data import Mixup
from torch import Tensor

from nommer.acceleration.compile import compiled
from nommer.data.audit import audit, read_images
from nommer.data.classification import ClassificationBatch, ClassificationData
from nommer.data.formats.classification import read_classification
from nommer.data.formats.folders import ClassFolders, split_stratified
from nommer.data.formats.labelled import shorten
from nommer.data.module import ImageData, Loading
from nommer.data.transforms import Preprocessing
from nommer.data.transforms import mixing as mixing_of
from nommer.errors import InputError
from nommer.models.classification import Classifier
from nommer.settings.augmentation import Augmentation
from nommer.settings.inference import Inference
from nommer.settings.optim import Optim
from nommer.settings.train import TrainSettings, default_image_size
from nommer.tasks.classification.results import save_evaluation, save_training_batch
from nommer.tasks.metrics import ClassificationMetrics
from nommer.tasks.module import TaskModule
from nommer.tasks.networks import build_network, check_peer_size, resolve_network, transfer
from nommer.tasks.resolve import loading_of
from nommer.tasks.task import Auditing, Data, Evaluation, Found, Task


class ClassificationModule(TaskModule):
    """A classifier with its loss and metrics.

    `answers` holds the class probabilities per sample of this process.
    """

    measure, measure_name = "top1", "top-1"
    curves: ClassVar[Mapping[str, str]] = {"top-1": "top1", "mean per class": "mean_class_accuracy"}

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

    def training_step(self, batch: ClassificationBatch, batch_idx: int) -> Tensor:
        """Cross-entropy against smoothed, and where asked for mixed, labels."""
        images, targets = batch.images, batch.labels
        if self.mixing is not None:
            images, targets = self.mixing(images, targets)
        smoothing = self.optim.label_smoothing or 0.0 if targets.ndim == 1 else 0.0
        logits = (self.compiled or self.model)(images)
        loss = F.cross_entropy(
            logits.float(), targets, weight=self.class_weights, label_smoothing=smoothing
        )
        return self.log_loss(loss, len(images))

    def compile_training(self) -> None:
        """Compile the whole network."""
        self.compiled = compiled(self.model.forward)

    def on_validation_epoch_start(self) -> None:
        """Start a new evaluation."""
        super().on_validation_epoch_start()
        self.metrics.reset()

    def validation_step(self, batch: ClassificationBatch, batch_idx: int) -> None:
        """Collect scores."""
        logits = self.model(batch.images)
        self.metrics.update(logits, batch.labels)
        probabilities = cast("Classifier", self.model).probabilities(logits).cpu()
        self.answers.update(zip(batch.indices.tolist(), probabilities, strict=True))

    def on_validation_epoch_end(self) -> None:
        """Finish the evaluation and log its numbers."""
        self.finish_validation(self.metrics.compute())


class ClassificationTask(Task):
    """Images in folders, one per class."""

    name, module = "classification", ClassificationModule
    options = frozenset({"augment", "classification"})
    largest_default_batch = 64
    plots = "curves.png, confusion_matrix.png, nominations.png, val_predictions.jpg"

    def read(
        self, root: Path, *, classes: Path | None, class_names: tuple[str, ...] | None = None
    ) -> Data:
        """Find the labelled images at `root`, in whatever format."""
        if classes is not None:
            raise InputError(
                f"--classes {classes}: is for masks; {root} says itself what its classes are"
            )
        return read_classification(root, class_names)

    def split(self, data: Any, *, fraction: float, seed: int) -> Data:
        """Hold back a fraction of every class."""
        return split_stratified(data, fraction=fraction, seed=seed)

    def inspect(self, data: Any) -> list[Any]:
        """Every image, whole."""
        return read_images([sample.path for sample in data.samples()], whole=True)

    def audit(self, data: Any, how: Auditing) -> Found:
        """Decode every image once."""
        return audit(
            data,
            on_bad_sample=how.on_bad_sample,
            training=how.training,
            reports=how.reports,
            reading=how.reading,
        )

    def fill_in(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """Image size from the data; patch, window, blocks and crop from the image size."""
        if settings.images_per_step % 2 and (settings.augment.mixup or settings.augment.cutmix):
            raise InputError(
                "mixup and cutmix pair the images of a batch: --batch-size must be even, got "
                f"{settings.batch_size}"
            )
        image_size = settings.image_size or default_image_size(found.short_side)
        filled = Preprocessing(image_size=image_size, **vars(settings.pixels))
        check_peer_size(replace(settings, image_size=image_size))
        return replace(
            settings,
            image_size=image_size,
            network=resolve_network(settings.network, settings.model, image_size),
            optim=settings.optim.resolved(schedule="cosine", label_smoothing=0.1),
            pixels=replace(
                settings.pixels, crop_pct=filled.crop_pct, interpolation=filled.interpolation
            ),
        )

    def build_model(self, settings: TrainSettings, data: Data) -> Classifier:
        """The network with its classifier."""
        preprocessing = Preprocessing(image_size=settings.image_size or 0, **vars(settings.pixels))
        network = build_network(settings, num_classes=len(data.class_names))
        if settings.pretrained is not None:
            transfer(
                network, data.class_names, settings.pretrained, reinit_head=settings.reinit_head
            )
        ids = data.class_ids if isinstance(data, ClassFolders) else ()
        return Classifier(
            network, class_names=data.class_names, preprocessing=preprocessing, class_ids=ids
        )

    def training_data(
        self, settings: TrainSettings, data: Data, model: Classifier
    ) -> ImageData[Any, Any]:
        """Augmented batches, and validation images as they are."""
        return ClassificationData(
            data.splits["train"],
            data.splits["val"],
            preprocessing=model.preprocessing,
            augmentation=settings.augment,
            loading=loading_of(settings),
            num_classes=count_several(data),
        )

    def evaluation_data(
        self, data: Data, model: Classifier, loading: Loading
    ) -> ImageData[Any, Any]:
        """Batches of all samples."""
        samples = data.samples()
        return ClassificationData(
            samples,
            samples,
            preprocessing=model.preprocessing,
            augmentation=Augmentation(),
            loading=loading,
            num_classes=count_several(data),
        )

    def training_module(
        self, settings: TrainSettings, model: Classifier, *, lr: float, found: Found
    ) -> TaskModule:
        """Cross-entropy, with mixing where asked for."""
        mixing = mixing_of(
            settings.augment, len(model.class_names), settings.optim.label_smoothing or 0.0
        )
        weighted = settings.classification.class_weights == "balanced"
        weights = balanced_weights(found.data, len(model.class_names)) if weighted else None
        return ClassificationModule(
            model,
            optim=settings.optim,
            lr=lr,
            mixing=mixing,
            class_weights=weights,
            seed=settings.seed,
        )

    def evaluation_module(self, model: Classifier, data: Data, inference: Inference) -> TaskModule:
        """Without an optimiser that matters."""
        return ClassificationModule(model, optim=Optim(), lr=1.0)

    def save_training_batch(self, data: Any, model: Classifier, path: Path) -> None:
        """The first training images, augmented."""
        save_training_batch(data, model.class_names, path)

    def save_evaluation(
        self,
        evaluation: Evaluation,
        model: Classifier,
        data: Data,
        out: Path,
        *,
        facts: Mapping[str, Any],
    ) -> None:
        """Numbers, tables, confusion, calibration, pictures."""
        save_evaluation(evaluation, model, out, facts=facts)

    def absent_hint(self, data: Any) -> str:
        """Which of the model's classes no image is of."""
        present = {label for sample in data.samples() for label in sample.classes}
        absent = [name for label, name in enumerate(data.class_names) if label not in present]
        return (
            f"; {len(absent)} of the model's classes do not occur: {shorten(absent)}"
            if absent
            else ""
        )


def count_several(data: Any) -> int | None:
    """How many classes there are, where an image may have several of them."""
    return len(data.class_names) if data.several else None


def balanced_weights(data: Data, num_classes: int) -> Tensor:
    """Weights that make every class count as much: images / (classes * images of the class).

    Source: King and Zeng, "Logistic Regression in Rare Events Data", 2001; scikit-learn calls it
    "balanced".
    """
    counts = torch.bincount(
        torch.tensor([sample.label for sample in data.splits["train"]]), minlength=num_classes
    )
    return counts.sum() / (num_classes * counts.clamp_min(1)).float()
