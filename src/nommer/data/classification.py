"""Labelled images as typed batches, and the data module that hands them to Lightning."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nommer.data.cache import Decoded
from nommer.data.formats.folders import Sample
from nommer.data.images import decode
from nommer.data.module import ImageData, ImageDataset, Loading
from nommer.data.seeding import BalancedSampler, EpochSampler
from nommer.data.transforms import Preprocessing, training_transform
from nommer.settings.augmentation import Augmentation


class ClassificationBatch(NamedTuple):
    """One labelled image, or collated, many."""

    images: Tensor
    """(B, 3, H, W) float32, normalised."""
    labels: Tensor
    """(B,) int64 class indices; where an image may have several classes, (B, classes) float32 of 0
    and 1.
    """
    indices: Tensor
    """(B,) int64 positions in the data set, to find the files again."""


class ClassificationDataset(ImageDataset[Sample, ClassificationBatch]):
    """Decodes, transforms and labels.

    With `num_classes`, an image may have several of so many classes.
    """

    num_classes: int | None = None

    def decode(self, index: int) -> Decoded:
        """The image."""
        return (decode(self.samples[index].path, self.reading),)

    def load(self, index: int) -> ClassificationBatch:
        """One image with its label."""
        (image,) = self.decoded(index)
        return ClassificationBatch(self.transform(image), self.label(index), index)  # type: ignore[arg-type]  # collated later

    def label(self, index: int) -> int | Tensor:
        """The class of one image, or with `num_classes` 0 or 1 for each."""
        sample = self.samples[index]
        if self.num_classes is None:
            return sample.label
        return torch.zeros(self.num_classes).index_fill(
            0, torch.tensor(sample.classes, dtype=torch.int64), 1.0
        )


class ClassificationData(ImageData[Sample, ClassificationBatch]):
    """Training and validation batches for every process of a run.

    `num_classes` is given where an image may have several classes.
    """

    def __init__(
        self,
        train: Sequence[Sample],
        val: Sequence[Sample],
        *,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        loading: Loading,
        num_classes: int | None = None,
    ) -> None:
        reading = preprocessing.reading
        super().__init__(
            ClassificationDataset(
                train, training_transform(augmentation, preprocessing), reading=reading
            ),
            ClassificationDataset(val, preprocessing, reading=reading),
            loading=loading,
        )
        self.preprocessing = preprocessing
        self.train.num_classes = self.val.num_classes = num_classes  # type: ignore[attr-defined]

    def train_sampler(self) -> EpochSampler:
        """Each image once in an epoch, or as many of every class."""
        if not self.loading.balanced:
            return super().train_sampler()
        return BalancedSampler([sample.label for sample in self.train.samples], **self._sampling())
