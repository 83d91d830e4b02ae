"""The Lightning module that learns a teacher's features, and measures what has been learned."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from timm.data import Mixup
from torch import Tensor

from nommer.data.classification import ClassificationBatch
from nommer.data.transforms import mixing as mixing_of
from nommer.errors import InputError
from nommer.models.features import FeatureExtractor
from nommer.settings.inference import Inference
from nommer.settings.optim import Optim
from nommer.settings.pretrain import PretrainSettings
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Data, Found
from nommer.tasks.distillation import pool
from nommer.tasks.features.data import UnlabelledImages
from nommer.tasks.features.metrics import ImitationReport
from nommer.tasks.features.probe import linear_accuracy, neighbours_accuracy
from nommer.tasks.likeness import Imitation, Likeness
from nommer.tasks.module import TaskModule

_CURVES = {"similarity": "similarity", "maps": "map_similarity", "pooled": "pooled_similarity"}


class ImitationModule(TaskModule):
    """A network without classes that learns a teacher's features.

    `answers` holds (loss, similarity of maps, of pooled features) of every image held back, and the
    features of every image of the probe.
    """

    measure, measure_name = "similarity", "similarity"
    curves: ClassVar[Mapping[str, str]] = _CURVES

    model: FeatureExtractor

    def __init__(
        self,
        model: FeatureExtractor,
        *,
        data: UnlabelledImages,
        neighbours: int,
        linear: bool,
        mixing: Mixup | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.mixing = mixing
        self.neighbours, self.linear = neighbours, linear
        self.held_back = len(data.splits["val"])
        known, asked = ([sample.label for sample in part] for part in (data.known, data.asked))
        self.labels = torch.tensor(known), torch.tensor(asked)

    @classmethod
    def kind_for(cls, settings: TrainSettings) -> type[TaskModule]:
        """Return the module that compares epochs by the probe, where there is one."""
        probed = isinstance(settings, PretrainSettings) and settings.probe is not None
        return ProbedImitationModule if probed else ImitationModule

    @classmethod
    def for_training(
        cls, settings: TrainSettings, model: FeatureExtractor, *, lr: float, found: Found
    ) -> TaskModule:
        """Return the model, to be given its teacher; images are mixed where asked for."""
        told = cast("PretrainSettings", settings)
        return cls(
            model,
            data=found.data,
            neighbours=told.neighbours,
            linear=told.linear_probe,
            mixing=mixing_of(settings.augment, 1, 0.0),
            optim=settings.optim,
            lr=lr,
            seed=settings.seed,
        )

    @classmethod
    def for_evaluation(
        cls, model: FeatureExtractor, data: Data, inference: Inference
    ) -> TaskModule:
        """Refuse to evaluate without the teacher, whose features were imitated.

        Raises:
            InputError: always.
        """
        raise InputError(
            "a model for features is evaluated in its own run only, beside its teacher"
        )

    def concluding(self, model: FeatureExtractor, data: Data) -> TaskModule:
        """Return the module that evaluates the best model beside this run's teacher."""
        module = type(self)(
            model,
            data=cast("UnlabelledImages", data),
            neighbours=self.neighbours,
            linear=self.linear,
            optim=Optim(),
            lr=1.0,
        )
        module.distillation = self.distillation
        return module

    def training_step(self, batch: ClassificationBatch, batch_idx: int) -> Tensor:
        """Squared error to the teacher's features of the same images, mixed where asked for."""
        images = batch.images
        if self.mixing is not None:
            images, _ = self.mixing(images, torch.zeros(len(images), dtype=torch.int64))
        with self.nominating() as scores:
            features = self.model.backbone.forward_intermediates(images)
        loss = self._likeness(images, *features).loss.mean()
        return self.log_loss(self.balanced(loss, scores), len(images))

    def _likeness(self, images: Tensor, last: Tensor, maps: list[Tensor]) -> Likeness:
        pooled = pool(self.model.backbone, last)
        return cast("Imitation", self.distillation).compare(images, maps, pooled)

    def validation_step(self, batch: ClassificationBatch, batch_idx: int) -> None:
        """Compare images held back with the teacher, and keep the features of the probe's.

        In float32 in any precision: neighbours are near, and bf16 would draw lots among them.
        """
        with torch.autocast(self.device.type, enabled=False):
            self._measure(batch)

    def _measure(self, batch: ClassificationBatch) -> None:
        last, maps = self.model.backbone.forward_intermediates(batch.images)
        held = batch.indices < self.held_back
        if held.any():
            chosen = [last[held], [one[held] for one in maps]]
            like = self._likeness(batch.images[held], *chosen)
            numbers = torch.stack((like.loss, like.maps, like.pooled), dim=1).cpu()
            self.answers.update(zip(batch.indices[held].tolist(), numbers, strict=True))
        if not held.all():
            features = pool(self.model.backbone, last[~held]).float().cpu()
            self.answers.update(zip(batch.indices[~held].tolist(), features, strict=True))

    def on_validation_epoch_end(self) -> None:
        """Finish the evaluation over all processes, and log its numbers."""
        answers = self._everyones_answers()
        numbers = torch.stack([answers[index] for index in range(self.held_back)]).double().mean(0)
        loss, maps, pooled = numbers.tolist()
        probed = [answers[index] for index in range(self.held_back, len(answers))]
        self.finish_validation(
            ImitationReport(
                images=self.held_back,
                loss=loss,
                similarity=(maps + pooled) / 2,
                map_similarity=maps,
                pooled_similarity=pooled,
                **self._probe(torch.stack(probed)) if probed else {},
            )
        )

    def _everyones_answers(self) -> dict[int, Tensor]:
        if self.trainer.world_size == 1:
            return self.answers
        everyones: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(everyones, self.answers)
        return {index: answer for one in everyones for index, answer in one.items()}

    def _probe(self, features: Tensor) -> dict[str, float]:
        known, asked = self.labels
        parts = features[: len(known)], known, features[len(known) :], asked
        found = {"knn": neighbours_accuracy(*parts, neighbours=self.neighbours)}
        return found | ({"linear": linear_accuracy(*parts)} if self.linear else {})


class ProbedImitationModule(ImitationModule):
    """The same, where epochs are compared by what a probe knows by its neighbours."""

    measure, measure_name = "knn", "kNN accuracy"
    curves: ClassVar[Mapping[str, str]] = {
        "kNN accuracy of the probe": "knn",
        "linear probe": "linear",
        "similarity to the teacher": "similarity",
    }
