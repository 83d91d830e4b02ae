"""Detection and instance segmentation in the engine.

The Lightning module, and what the verbs ask of the task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor

from nommer.acceleration.compile import compile_blocks
from nommer.backbone.network import NomMer
from nommer.data.audit import read_images
from nommer.data.box_transforms import BoxPreprocessing
from nommer.data.detection import DetectionBatch, DetectionData
from nommer.data.detection_audit import audit_detection
from nommer.data.formats.detection import as_coco, read_detection
from nommer.data.formats.labelled import split_randomly
from nommer.data.formats.objects import DetectionFolders, DetectionSample
from nommer.data.module import ImageData, Loading
from nommer.errors import InputError
from nommer.models.detection import Detector
from nommer.models.rcnn import RCNN
from nommer.models.storage import load_backbone
from nommer.settings.detection import BoxAugmentation
from nommer.settings.inference import Inference
from nommer.settings.optim import Optim
from nommer.settings.train import TrainSettings
from nommer.tasks.detection.metrics import ImageAnswer, evaluate_detections
from nommer.tasks.detection.results import save_evaluation, save_training_batch
from nommer.tasks.module import TaskModule
from nommer.tasks.networks import build_network, count_features, resolve_network, tell_loaded
from nommer.tasks.resolve import loading_of
from nommer.tasks.task import Auditing, Data, Evaluation, Found, Task


class DetectionModule(TaskModule):
    """A detector with its losses; `answers` holds what was found in each sample of this process.

    Args:
        model: the detector.
        truth: the data set to judge on, and its samples in order.
        **options: of `TaskModule`.
    """

    measure, measure_name = "box_ap", "box AP"
    curves: ClassVar[Mapping[str, str]] = {
        "box AP": "box_ap",
        "box AP50": "box_ap50",
        "mask AP": "mask_ap",
    }

    model: Detector

    def __init__(
        self,
        model: Detector,
        *,
        truth: tuple[DetectionFolders, Sequence[DetectionSample]],
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.truth, self.samples = truth
        self.training_compiled = False
        """Whether the blocks are compiled in place to be trained; the model is judged as it is even
        so.
        """

    def training_step(self, batch: DetectionBatch, batch_idx: int) -> Tensor:
        """The sum of the losses of proposals, boxes, classes and masks."""
        losses = self.model(batch.images, batch.targets)
        total = torch.stack(list(losses.values())).sum()
        return self.log_loss(total, len(batch.images))

    def compile_training(self) -> None:
        """Compile the blocks of the backbone, a NomMer, with sizes left open, for batches differ in
        them.
        """
        self.training_compiled = compile_blocks(self.model)

    def validation_step(self, batch: DetectionBatch, batch_idx: int) -> None:
        """Answer one image at its own size, the way `predict` answers it.

        Raises:
            InputError: scores that are no numbers.
        """
        index = int(batch.indices[0])
        sample = self.samples[index]
        with torch.compiler.set_stance("force_eager" if self.training_compiled else "default"):
            found = self.model.detect(batch.images[0], size=batch.sizes[0])
        if found is None:
            raise InputError(
                f"{sample.path}: the model's scores for this image are no numbers; lower --lr"
            )
        self.answers[index] = ImageAnswer.of(found, sample, self.truth.category_ids)

    def on_validation_epoch_end(self) -> None:
        """Judge the answers of all processes together and log the numbers."""
        answers = gather(self.answers)
        ordered = [answers[index] for index in sorted(answers)]
        truth = as_coco(self.truth, [self.samples[index] for index in sorted(answers)])
        network = self.model.network
        report = evaluate_detections(
            ordered, truth, masks=network.has_masks, most=network.protocol.most
        )
        self.finish_validation(report)


def gather(answers: dict[int, Any]) -> dict[int, Any]:
    """The answers of all processes; of one process its own."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return answers
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, answers)
    return {index: answer for part in parts for index, answer in part.items()}


class DetectionTask(Task):
    """Images and the objects in them."""

    name, module = "detection", DetectionModule
    options = frozenset({"detection"})
    largest_default_batch = 4
    synchronise_norms = True
    plots = "curves.png, precision_recall.png, confusion_matrix.png, nominations.png, val_predictions.jpg"

    def read(
        self, root: Path, *, classes: Path | None, class_names: tuple[str, ...] | None = None
    ) -> Data:
        """Find the images and their objects under `root`."""
        if classes is not None:
            raise InputError(
                f"--classes {classes}: is for masks of semantic segmentation; leave it out for "
                "objects"
            )
        return read_detection(root, class_names=class_names)

    def split(self, data: Any, *, fraction: float, seed: int) -> Data:
        """Hold back a fraction of the images."""
        return split_randomly(data, fraction=fraction, seed=seed)

    def inspect(self, data: Any) -> list[Any]:
        """Every image, whole."""
        return read_images(
            [sample.path for sample in data.samples() if not sample.error], whole=True
        )

    def audit(self, data: Any, how: Auditing) -> Found:
        """Decode every image once, check every object."""
        return audit_detection(data, **vars(how))

    def fill_in(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """Image size from the data, sizes of the heads from the backbone.

        Masks where the data have them.
        """
        settings = settings.for_whole_images(self.name)
        if settings.image_size is not None:
            raise InputError(
                "--image-size: for detection give --detection.short-side and --detection.long-side"
            )
        data: Any = found.data
        short = settings.detection.short_side or min(800, found.short_side)
        network = resolve_network(settings.network, settings.model, short)
        settings = replace(settings, image_size=short, network=network)
        features = count_features(settings)
        return replace(
            settings,
            image_size=None,
            optim=settings.optim.resolved(schedule="steps", label_smoothing=0.0),
            detection=settings.detection.resolved(
                features=features, short_side=found.short_side, masks=data.has_masks
            ),
        )

    def describe_size(self, settings: TrainSettings) -> str:
        """The sides that images are resized to, and what is learned."""
        options = settings.detection
        learned = "boxes and masks" if options.masks else "boxes"
        return f"{learned}, sides of {options.short_side} to {options.long_side} pixels"

    def build_model(self, settings: TrainSettings, data: Any) -> Detector:
        """The backbone with fresh or given weights, everything else with fresh ones.

        Raises:
            InputError: the backbone is to be compiled and is no NomMer.
        """
        options = settings.detection
        short, long = options.short_side or 800, options.long_side or 1333
        backbone = build_network(replace(settings, image_size=short), num_classes=0)
        if settings.compile and not isinstance(backbone, NomMer):
            raise InputError("--compile: for training on objects, whose images differ in size, only with a NomMer; "
                             "leave it out")  # fmt: skip
        network = RCNN(
            backbone,
            num_classes=len(data.class_names),
            masks=bool(options.masks),
            cascade=options.head == "cascade",
            fpn_channels=options.fpn_channels or 256,
            box_channels=options.box_channels or 1024,
            protocol=options.protocol,
        )
        if settings.pretrained is not None:
            tell_loaded(*load_backbone(network, settings.pretrained), settings.pretrained)
        return Detector(
            network,
            class_names=data.class_names,
            category_ids=data.category_ids,
            preprocessing=BoxPreprocessing(
                short_side=short, long_side=long, **settings.normalisation
            ),
        )

    def training_data(
        self, settings: TrainSettings, data: Any, model: Detector
    ) -> ImageData[Any, Any]:
        """Augmented images with their objects, and validation images as they are."""
        return self._data(
            data.splits["train"],
            data.splits["val"],
            model,
            settings.detection.augment,
            loading_of(settings),
        )

    def evaluation_data(self, data: Any, model: Detector, loading: Loading) -> ImageData[Any, Any]:
        """All samples, one at a time."""
        return self._data(data.samples(), data.samples(), model, BoxAugmentation(), loading)

    def _data(
        self,
        train: Sequence[DetectionSample],
        val: Sequence[DetectionSample],
        model: Detector,
        augmentation: BoxAugmentation,
        loading: Loading,
    ) -> DetectionData:
        return DetectionData(
            train,
            val,
            masks=model.network.has_masks,
            preprocessing=model.preprocessing,
            augmentation=augmentation,
            loading=loading,
        )

    def training_module(
        self, settings: TrainSettings, model: Detector, *, lr: float, found: Found
    ) -> TaskModule:
        """The losses of both halves of the network; judged on the "val" part."""
        data: Any = found.data
        truth = data, data.splits["val"]
        return DetectionModule(model, truth=truth, optim=settings.optim, lr=lr, seed=settings.seed)

    def evaluation_module(self, model: Detector, data: Any, inference: Inference) -> TaskModule:
        """Without an optimiser that matters."""
        return DetectionModule(model, truth=(data, data.samples()), optim=Optim(), lr=1.0)

    def save_training_batch(self, data: Any, model: Detector, path: Path) -> None:
        """The first images, augmented, with their objects."""
        save_training_batch(data, model, path)

    def save_evaluation(
        self,
        evaluation: Evaluation,
        model: Detector,
        data: Any,
        out: Path,
        *,
        facts: Mapping[str, Any],
    ) -> None:
        """Numbers, tables, the results file, precision-recall curves, confusion, pictures."""
        save_evaluation(evaluation, model, out, facts=facts)
