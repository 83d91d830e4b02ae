"""Detection: images and the objects in them, as batches of images of different sizes."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from nommer.data.audit import read_images
from nommer.data.detection import DetectionData
from nommer.data.detection_audit import audit_detection
from nommer.data.formats.detection import read_detection
from nommer.data.formats.labelled import split_randomly
from nommer.data.formats.objects import DetectionSample
from nommer.data.formats.source import Source
from nommer.data.module import ImageData, Loading
from nommer.models.detection import Detector
from nommer.models.recogniser import Recogniser
from nommer.settings.detection import BoxAugmentation
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Auditing, Data, Found, TaskData, refuse_class_file
from nommer.tasks.resolve import loading_of


class DetectionSource(TaskData):
    """Images and the objects in them."""

    def read(self, source: Source, class_names: tuple[str, ...] | None = None) -> Data:
        """Return the images and their objects."""
        refuse_class_file(source)
        return read_detection(source, class_names)

    def split(self, data: Any, *, fraction: float, seed: int) -> Data:
        """Hold back a fraction of the images."""
        return split_randomly(data, fraction=fraction, seed=seed)

    def classes_in(self, sample: Any) -> Collection[int]:
        """Return the classes of its objects."""
        return set(sample.objects.labels.tolist())

    def inspect(self, data: Any) -> list[Any]:
        """Read every image whole."""
        return read_images(
            [sample.path for sample in data.samples() if not sample.error], whole=True
        )

    def audit(self, data: Any, how: Auditing) -> Found:
        """Decode every image once, check every object."""
        return audit_detection(data, **vars(how))

    def auditing_for(self, model: Recogniser, on_bad_sample: str) -> Auditing:
        """Return how data are audited: with masks where the model answers with masks."""
        usual = super().auditing_for(model, on_bad_sample)
        network: Any = model.network
        return replace(usual, masks=bool(network.has_masks), most=network.protocol.most)

    def training(self, settings: TrainSettings, data: Any, model: Detector) -> ImageData[Any, Any]:
        """Return augmented images with their objects, and validation images as they are."""
        return _batches(
            data.splits["train"],
            data.splits["val"],
            model,
            settings.detection.augment,
            loading_of(settings),
        )

    def evaluation(self, data: Any, model: Detector, loading: Loading) -> ImageData[Any, Any]:
        """Return all samples, one at a time."""
        return _batches(data.samples(), data.samples(), model, BoxAugmentation(), loading)


def _batches(
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
