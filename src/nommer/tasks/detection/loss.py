"""Detection: the losses of both halves of the network, and the module that learns by them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor

from nommer.acceleration.compile import compile_blocks
from nommer.data.detection import DetectionBatch
from nommer.data.formats.detection import as_coco
from nommer.data.formats.objects import DetectionFolders, DetectionSample
from nommer.data.images import decode
from nommer.errors import InputError
from nommer.models.detection import Detector
from nommer.predictions import Detections
from nommer.settings.inference import Inference
from nommer.settings.optim import Optim
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Found
from nommer.tasks.detection.matching import ImageAnswer
from nommer.tasks.detection.metrics import evaluate_detections
from nommer.tasks.module import TaskModule


class DetectionModule(TaskModule):
    """A detector with its losses; `answers` holds what was found in each sample of this process.

    Args:
        model: the detector.
        truth: the data set to evaluate on, and its samples in order.
        inference: images are seen whole, or in windows.
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
        inference: Inference = Inference(),
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        inference.check_objects()
        self.inference = inference
        self.truth, self.samples = truth
        self.training_compiled = False
        """The blocks are compiled in place for training; evaluation runs them as they are."""

    @classmethod
    def for_training(
        cls, settings: TrainSettings, model: Detector, *, lr: float, found: Found
    ) -> TaskModule:
        """Return the losses of both halves of the network; it is evaluated on the "val" part."""
        data: Any = found.data
        truth = data, data.splits["val"]
        return cls(model, truth=truth, optim=settings.optim, lr=lr, seed=settings.seed)

    @classmethod
    def for_evaluation(cls, model: Detector, data: Any, inference: Inference) -> TaskModule:
        """Return the model without an optimiser that matters."""
        truth = data, data.samples()
        return cls(model, truth=truth, inference=inference, optim=Optim(), lr=1.0)

    def training_step(self, batch: DetectionBatch, batch_idx: int) -> Tensor:
        """The sum of the losses of proposals, boxes, classes and masks."""
        with self.observed() as seen:
            losses = self.model(batch.images, batch.targets)
        total = torch.stack(list(losses.values())).sum()
        return self.log_loss(self.aided(total, seen), len(batch.images))

    def compile_training(self) -> None:
        """Compile the blocks of the backbone, a NomMer, with open sizes: batches differ in them."""
        self.training_compiled = compile_blocks(self.model)

    def validation_step(self, batch: DetectionBatch, batch_idx: int) -> None:
        """Answer one image at its own size, the way `predict` answers it.

        Raises:
            InputError: scores that are NaN or infinite.
        """
        index = int(batch.indices[0])
        sample = self.samples[index]
        with torch.compiler.set_stance("force_eager" if self.training_compiled else "default"):
            found = self._find(batch, sample)
        if found is None:
            raise InputError(
                f"{sample.path}: the model's scores for this image are NaN or infinite; lower --lr"
            )
        self.answers[index] = ImageAnswer.of(found, sample, self.truth.category_ids)

    def _find(self, batch: DetectionBatch, sample: DetectionSample) -> Detections | None:
        """Answer an image; windows are cut from its file, for the batch holds it shrunk."""
        if self.inference.mode != "slide":
            return self.model.detect(batch.images[0], size=batch.sizes[0])
        image = decode(sample.path, self.model.preprocessing.reading)
        return self.model.find(image, inference=self.inference)

    def on_validation_epoch_end(self) -> None:
        """Evaluate the answers of all processes together and log the numbers."""
        answers = gather(self.answers)
        ordered = [answers[index] for index in sorted(answers)]
        truth = as_coco(self.truth, [self.samples[index] for index in sorted(answers)])
        network = self.model.network
        report = evaluate_detections(
            ordered,
            truth,
            masks=network.has_masks and self.truth.has_masks,
            most=network.protocol.most,
        )
        self.finish_validation(report)


def gather(answers: dict[int, Any]) -> dict[int, Any]:
    """The answers of all processes; of one process its own."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return answers
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, answers)
    return {index: answer for part in parts for index, answer in part.items()}
