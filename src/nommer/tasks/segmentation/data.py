"""Segmentation: images and their masks, as crops to learn from and as whole images."""

from typing import Any

from nommer.data.formats.labelled import split_randomly
from nommer.data.formats.masks import read_mask_folders
from nommer.data.formats.source import Source
from nommer.data.mask_audit import audit_masks, read_pairs
from nommer.data.module import ImageData, Loading
from nommer.data.segmentation import SegmentationData
from nommer.models.segmentation import Segmenter
from nommer.settings.segmentation import JointAugmentation
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Auditing, Data, Found, TaskData
from nommer.tasks.resolve import loading_of
from nommer.tasks.segmentation.results import describe_labels


class SegmentationSource(TaskData):
    """Images and masks."""

    def read(self, source: Source, class_names: tuple[str, ...] | None = None) -> Data:
        """Return the pairs of images and masks."""
        return read_mask_folders(source, class_names)

    def split(self, data: Any, *, fraction: float, seed: int) -> Data:
        """Hold back a fraction of the images."""
        return split_randomly(data, fraction=fraction, seed=seed)

    def inspect(self, data: Any) -> list[Any]:
        """Read every image with its mask, whole."""
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

    def training(self, settings: TrainSettings, data: Any, model: Segmenter) -> ImageData[Any, Any]:
        """Return augmented crops, and validation images as they are."""
        return SegmentationData(
            data.splits["train"],
            data.splits["val"],
            encoding=data.encoding,
            preprocessing=model.preprocessing,
            augmentation=settings.segmentation.augment,
            loading=loading_of(settings),
        )

    def evaluation(self, data: Any, model: Segmenter, loading: Loading) -> ImageData[Any, Any]:
        """Return all samples, one at a time."""
        return SegmentationData(
            data.samples(),
            data.samples(),
            encoding=data.encoding,
            preprocessing=model.preprocessing,
            augmentation=JointAugmentation(),
            loading=loading,
        )

    def describe_classes(self, data: Any) -> dict[str, Any]:
        """Return name, colour and label of each class, and the values in the masks that mean it."""
        encoding = data.encoding
        values = {str(value): label for value, label in sorted(encoding.values.items())}
        colours = {str(list(colour)): label for colour, label in sorted(encoding.colours.items())}
        described = describe_labels(data.class_names, data.colours)
        return {"classes": described, "values": values, "colours": colours}
