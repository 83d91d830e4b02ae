"""Classification: labelled images in whatever format, as batches."""

from collections.abc import Collection
from typing import Any

from nommer.data.audit import audit, read_images
from nommer.data.classification import ClassificationData
from nommer.data.formats.classification import read_classification
from nommer.data.formats.folders import split_stratified
from nommer.data.formats.labelled import shorten
from nommer.data.formats.source import Source
from nommer.data.module import ImageData, Loading
from nommer.models.classification import Classifier
from nommer.settings.augmentation import Augmentation
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Auditing, Data, Found, TaskData, refuse_class_file
from nommer.tasks.resolve import loading_of


class ClassificationSource(TaskData):
    """Images with one class each."""

    def read(self, source: Source, class_names: tuple[str, ...] | None = None) -> Data:
        """Return the labelled images, in whatever format."""
        refuse_class_file(source)
        return read_classification(source, class_names)

    def split(self, data: Any, *, fraction: float, seed: int) -> Data:
        """Hold back a fraction of every class."""
        return split_stratified(data, fraction=fraction, seed=seed)

    def classes_in(self, sample: Any) -> Collection[int]:
        """Return its classes."""
        return tuple(sample.classes)

    def inspect(self, data: Any) -> list[Any]:
        """Read every image whole."""
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

    def training(
        self, settings: TrainSettings, data: Any, model: Classifier
    ) -> ImageData[Any, Any]:
        """Return augmented batches, and validation images as they are."""
        return ClassificationData(
            data.splits["train"],
            self.held_back(data),
            preprocessing=model.preprocessing,
            augmentation=settings.augment,
            loading=loading_of(settings),
            num_classes=_num_classes(data),
        )

    def evaluation(self, data: Any, model: Classifier, loading: Loading) -> ImageData[Any, Any]:
        """Return batches of all samples."""
        samples = self.evaluated(data)
        return ClassificationData(
            samples,
            samples,
            preprocessing=model.preprocessing,
            augmentation=Augmentation(),
            loading=loading,
            num_classes=_num_classes(data),
        )

    def held_back(self, data: Any) -> tuple[Any, ...]:
        """Return the samples that a training is evaluated on."""
        return tuple(data.splits["val"])

    def evaluated(self, data: Any) -> tuple[Any, ...]:
        """Return the samples of an evaluation."""
        return tuple(data.samples())

    def absent_hint(self, data: Any) -> str:
        """Return a hint at classes of the model that no image is of."""
        present = {label for sample in data.samples() for label in sample.classes}
        absent = [name for label, name in enumerate(data.class_names) if label not in present]
        return (
            f"; {len(absent)} of the model's classes do not occur: {shorten(absent)}"
            if absent
            else ""
        )


def _num_classes(data: Any) -> int | None:
    """Return how many classes targets are vectors of; None where they are class indices."""
    return len(data.class_names) or None if data.multi_label else None
