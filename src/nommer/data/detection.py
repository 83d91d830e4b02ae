"""Images and their objects as typed batches, and the data module that hands them to Lightning."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nommer.data.box_transforms import (
    BoxPreprocessing,
    BoxTransform,
    Target,
    WholeImage,
    box_transform,
    to_target,
)
from nommer.data.cache import Decoded
from nommer.data.formats.objects import DetectionSample
from nommer.data.images import ImageError, decode
from nommer.data.module import ImageData, ImageDataset, Loading
from nommer.settings.detection import BoxAugmentation
from nommer.settings.pixel_range import Reading


class DetectionBatch(NamedTuple):
    """Images of different sizes, each with its objects."""

    images: tuple[Tensor, ...]
    """Each (3, h, w) float32, normalised."""
    targets: tuple[Target, ...]
    """In training the objects in the images as they are here; in evaluation those of the image
    files, without masks.
    """
    indices: Tensor
    """(B,) int64 positions in the data set, to find the files again."""
    sizes: tuple[tuple[int, int], ...]
    """Height and width of the upright image files."""


class DetectionDataset(ImageDataset[DetectionSample, DetectionBatch]):
    """Decodes an image and transforms it, with its objects in training, alone in evaluation."""

    def __init__(
        self,
        samples: Sequence[DetectionSample],
        transform: BoxTransform,
        *,
        masks: bool,
        reading: Reading,
    ) -> None:
        super().__init__(samples, transform, reading=reading)
        self.masks = masks

    def decode(self, index: int) -> Decoded:
        """The image."""
        return (decode(self.samples[index].path, self.reading),)

    def load(self, index: int) -> DetectionBatch:
        """One image with its objects, as a batch of one.

        Raises:
            ImageError: a file that cannot be read, or has another size than its objects were found
                to fit.
        """
        sample = self.samples[index]
        (image,) = self.decoded(index)
        if image.size != sample.size:
            found, expected = (f"{width} x {height}" for width, height in (image.size, sample.size))
            raise ImageError(
                sample.path, f"has {found} pixels, but its objects are of an image of {expected}"
            )
        size = (image.height, image.width)
        target = to_target(sample.objects, sample.image_id, size, masks=self.masks)
        image_tensor, objects = self.transform(image, target)
        return DetectionBatch((image_tensor,), (objects,), torch.tensor([index]), (size,))


def collate(samples: list[DetectionBatch] | ImageError) -> DetectionBatch | ImageError:
    """Batches of one as one batch, nothing stacked; an error stays what it is."""
    if isinstance(samples, ImageError):
        return samples
    images, targets, indices, sizes = zip(*samples, strict=True)
    return DetectionBatch(sum(images, ()), sum(targets, ()), torch.cat(indices), sum(sizes, ()))


class DetectionData(ImageData[DetectionSample, DetectionBatch]):
    """Training and validation batches for every process of a run.

    Training batches hold augmented images with their objects, without crowds; evaluation goes image
    by image, and its targets keep the boxes in pixels of the image file.
    """

    collate = staticmethod(collate)

    def __init__(
        self,
        train: Sequence[DetectionSample],
        val: Sequence[DetectionSample],
        *,
        masks: bool,
        preprocessing: BoxPreprocessing,
        augmentation: BoxAugmentation,
        loading: Loading,
    ) -> None:
        reading = preprocessing.reading
        transform = box_transform(augmentation, preprocessing)
        super().__init__(
            DetectionDataset(train, transform, masks=masks, reading=reading),
            DetectionDataset(val, WholeImage(preprocessing), masks=False, reading=reading),
            loading=loading,
            val_batch_size=1,
        )
        self.preprocessing = preprocessing
