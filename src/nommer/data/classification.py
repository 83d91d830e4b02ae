"""Labelled images as typed batches, and the data module that hands them to Lightning."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import lightning as L
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from nommer.data.formats.folders import Sample
from nommer.data.images import ImageError, decode
from nommer.data.seeding import EpochSampler, ShareSampler, seeded
from nommer.data.transforms import Augmentation, Preprocessing


class ClassificationBatch(NamedTuple):
    """One labelled image, or collated, many."""

    images: Tensor
    """(B, 3, H, W) float32, normalised."""
    labels: Tensor
    """(B,) int64 class indices."""
    indices: Tensor
    """(B,) int64 positions in the data set, to find the files again."""


class ClassificationDataset(Dataset[ClassificationBatch]):
    """Decodes, transforms and labels; asked for by index, or by (index, seed) where the transform is random."""

    def __init__(
        self, samples: Sequence[Sample], transform: Callable[[Image.Image], Any], *, background: tuple[int, int, int]
    ) -> None:
        self.samples = samples
        self.transform = transform
        self.background = background

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> ClassificationBatch:
        """One sample.

        Raises:
            ImageError: its file cannot be decoded (any more).
        """
        index, seed = key if isinstance(key, tuple) else (key, 0)
        sample = self.samples[index]
        image = decode(sample.path, background=self.background)
        with seeded(seed):
            return ClassificationBatch(self.transform(image), sample.label, index)  # type: ignore[arg-type]  # collated later

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> list[ClassificationBatch] | ImageError:
        """Samples of a batch, or the error of the first that has one: raised in a worker it would lose its sentence."""
        try:
            return [self[key] for key in keys]
        except ImageError as error:
            return error


def collate(samples: list[ClassificationBatch] | ImageError) -> ClassificationBatch | ImageError:
    """Samples as one batch; an error stays what it is."""
    return samples if isinstance(samples, ImageError) else default_collate(samples)


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How batches are put together."""

    batch_size: int
    """Images per process and step."""
    workers: int
    """Processes that decode; 0 decodes in the training process."""
    seed: int = 0
    """Seed of order and augmentation."""


class ClassificationData(L.LightningDataModule):
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
        super().__init__()
        self.loading = loading
        self.preprocessing = preprocessing
        background = preprocessing.background
        self.train = ClassificationDataset(train, augmentation.transform(preprocessing), background=background)
        self.val = ClassificationDataset(val, preprocessing, background=background)

    def train_dataloader(self) -> DataLoader[ClassificationBatch]:
        """Shuffled and augmented; a last incomplete batch is left to other epochs."""
        return self._loader(self.train, sampler=self.train_sampler(), drop_last=True)

    def train_sampler(self) -> EpochSampler:
        """This process's order and augmentation seeds, from the first epoch on."""
        return EpochSampler(len(self.train), seed=self.loading.seed, **self._process())

    def val_dataloader(self) -> DataLoader[ClassificationBatch]:
        """Every validation image once, in order."""
        return self._loader(self.val, sampler=ShareSampler(len(self.val), **self._process()), drop_last=False)

    def on_before_batch_transfer(
        self, batch: ClassificationBatch | ImageError, dataloader_idx: int
    ) -> ClassificationBatch:
        """Stop at an image that cannot be decoded."""
        if isinstance(batch, ImageError):
            raise batch
        return batch

    def _process(self) -> dict[str, int]:
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size} if self.trainer else {}

    def _loader(self, dataset: ClassificationDataset, **options: Any) -> DataLoader[ClassificationBatch]:
        workers = self.loading.workers
        return DataLoader(
            dataset,
            batch_size=self.loading.batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=False,
            collate_fn=collate,
            **options,
        )
