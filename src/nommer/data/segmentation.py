"""Images and their masks as typed batches, and the data module that hands them to Lightning."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from nommer.data.cache import Decoded
from nommer.data.formats.mask_pairs import MaskSample
from nommer.data.images import decode
from nommer.data.joint_transforms import (
    DensePreprocessing,
    JointTransform,
    WholeImage,
    joint_transform,
)
from nommer.data.masks import MaskEncoding, check_size, read_mask
from nommer.data.module import ImageData, ImageDataset, Loading
from nommer.settings.pixel_range import Reading
from nommer.settings.segmentation import JointAugmentation


class SegmentationBatch(NamedTuple):
    """One image and its mask, or collated, many."""

    images: Tensor
    """(B, 3, h, w) float32, normalised."""
    masks: Tensor
    """(B, H, W) int64 class indices, or `IGNORE`; in training h = H and w = W, in evaluation
    the mask's own size.
    """
    indices: Tensor
    """(B,) int64 positions in the data set, to find the files again."""


class SegmentationDataset(ImageDataset[MaskSample, SegmentationBatch]):
    """Decodes an image and its mask and transforms both."""

    def __init__(
        self,
        samples: Sequence[MaskSample],
        transform: JointTransform,
        *,
        encoding: MaskEncoding,
        reading: Reading,
    ) -> None:
        super().__init__(samples, transform, reading=reading)
        self.encoding = encoding

    def decode(self, index: int) -> Decoded:
        """The image and its mask's labels."""
        sample = self.samples[index]
        return decode(sample.path, self.reading), read_mask(sample.mask, self.encoding)

    def load(self, index: int) -> SegmentationBatch:
        """One image with its mask.

        Raises:
            ImageError: a file that cannot be read, or a mask of another size than its image.
        """
        image, labels = self.decoded(index)
        check_size(self.samples[index].mask, labels.shape, image.size)
        pixels, mask = self.transform(image, labels)
        return SegmentationBatch(pixels, mask, index)  # type: ignore[arg-type]  # collated later


class SegmentationData(ImageData[MaskSample, SegmentationBatch]):
    """Training and validation batches for every process of a run.

    Training batches are square crops of side `preprocessing.image_size`; evaluation goes image
    by image, each at the network's size with its mask at its own.
    """

    def __init__(
        self,
        train: Sequence[MaskSample],
        val: Sequence[MaskSample],
        *,
        encoding: MaskEncoding,
        preprocessing: DensePreprocessing,
        augmentation: JointAugmentation,
        loading: Loading,
    ) -> None:
        reading = preprocessing.reading
        transform = joint_transform(augmentation, preprocessing)
        super().__init__(
            SegmentationDataset(train, transform, encoding=encoding, reading=reading),
            SegmentationDataset(val, WholeImage(preprocessing), encoding=encoding, reading=reading),
            loading=loading,
            val_batch_size=1,
        )
        self.preprocessing = preprocessing
