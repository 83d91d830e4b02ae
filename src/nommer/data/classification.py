"""Labelled images as typed batches, and the data module that hands them to Lightning."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from nommer.data.cache import Decoded
from nommer.data.formats.folders import Sample
from nommer.data.images import decode
from nommer.data.module import ImageData, ImageDataset, Loading
from nommer.data.seeding import BalancedSampler, EpochSampler
from nommer.data.transforms import Augmentation, Preprocessing


class ClassificationBatch(NamedTuple):
    """One labelled image, or collated, many."""

    images: Tensor
    """(B, 3, H, W) float32, normalised."""
    labels: Tensor
    """(B,) int64 class indices."""
    indices: Tensor
    """(B,) int64 positions in the data set, to find the files again."""


class ClassificationDataset(ImageDataset[Sample, ClassificationBatch]):
    """Decodes, transforms and labels."""

    def decode(self, index: int) -> Decoded:
        """The image."""
        return (decode(self.samples[index].path, background=self.background),)

    def load(self, index: int) -> ClassificationBatch:
        """One image with its label."""
        (image,) = self.decoded(index)
        return ClassificationBatch(self.transform(image), self.samples[index].label, index)  # type: ignore[arg-type]  # collated later


class ClassificationData(ImageData[Sample, ClassificationBatch]):
    """Training and validation batches for every process of a run."""

    def __init__(
        self,
        train: Sequence[Sample],
        val: Sequence[Sample],
        *,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        loading: Loading,
    ) -> None:
        background = preprocessing.background
        super().__init__(
            ClassificationDataset(train, augmentation.transform(preprocessing), background=background),
            ClassificationDataset(val, preprocessing, background=background),
            loading=loading,
        )
        self.preprocessing = preprocessing

    def train_sampler(self) -> EpochSampler:
        """Each image once in an epoch, or as many of every class."""
        if not self.loading.balanced:
            return super().train_sampler()
        return BalancedSampler([sample.label for sample in self.train.samples], **self._sampling())
