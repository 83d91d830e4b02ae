"""Datasets, batches and the data module that hands them to Lightning, as all tasks share them."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from nommer.data.cache import CacheFile, Decoded, DecodedCache
from nommer.data.chunks import chunks_of
from nommer.data.images import ImageError
from nommer.data.loader import LateLoader, check_loading_workers, outlive_signals
from nommer.data.lost import LostError
from nommer.data.seeding import ChunkSampler, EpochSampler, ShareSampler, seed_processor, seeded
from nommer.settings.choices import CacheKind
from nommer.settings.pixel_range import Reading

S = TypeVar("S")
B = TypeVar("B")


class ImageDataset(Dataset[B], Generic[S, B]):
    """Samples as inputs of the network.

    Asked for by index, or by (index, seed) where the transform is random.

    Args:
        samples: what is loaded.
        transform: from a decoded image, and its labels where a task changes both, to the input of
            the network.
        reading: how image files become RGB.
    """

    def __init__(
        self,
        samples: Sequence[S],
        transform: Callable[..., Any],
        *,
        reading: Reading,
    ) -> None:
        self.samples, self.transform, self.reading = samples, transform, reading
        self.cache: DecodedCache | None = None

    @abstractmethod
    def decode(self, index: int) -> Decoded:
        """The image of one sample, and its labels where they are an image too.

        Raises:
            ImageError: one of its files cannot be decoded (any more).
        """

    def decoded(self, index: int) -> Decoded:
        """Return the result of `decode`, from the cache where there is one."""
        kept = None if self.cache is None else self.cache.get(index)
        return self.decode(index) if kept is None else kept

    @abstractmethod
    def load(self, index: int) -> B:
        """One sample, decoded and transformed; called with the random generators seeded.

        Raises:
            ImageError: one of its files cannot be decoded (any more).
        """

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> B:
        """One sample.

        Raises:
            ImageError: one of its files cannot be decoded (any more).
        """
        with seeded(0):
            return self._seeded(key)

    def _seeded(self, key: int | tuple[int, int]) -> B:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        seed_processor(seed)
        return self.load(index)

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> list[B] | ImageError:
        """Samples of a batch, or the error of the first that has one.

        Raised in a worker it would lose its sentence.
        """
        try:
            with seeded(0):
                return [self._seeded(key) for key in keys]
        except ImageError as error:
            return error
        except LostError as error:
            return ImageError(error.source, error.reason)


def collate(samples: list[B] | ImageError) -> B | ImageError:
    """Samples as one batch; an error stays what it is."""
    return samples if isinstance(samples, ImageError) else default_collate(samples)


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Size, order and workers of batches."""

    batch_size: int
    """Images per process and step."""
    workers: int
    """Processes that decode; 0 decodes in the training process."""
    seed: int = 0
    """Seed of order and augmentation."""
    epoch_steps: int | None = None
    """Batches of a training epoch, out of an endless stream of shuffled passes. By default an epoch
    is one pass, without its last, incomplete batch."""
    balanced: bool = False
    """A training epoch has as many samples of every class; for samples of one class each."""
    cache: CacheKind = "none"
    """Place where decoded images are kept for the next epochs."""
    cache_folder: Path = Path()
    """The folder in which "disk" keeps them."""


class ImageData(L.LightningDataModule, Generic[S, B]):
    """Training and validation batches for every process of a run.

    Args:
        train: samples to learn from.
        val: samples to evaluate on.
        loading: how batches are put together.
        val_batch_size: images per process and step in evaluation; by default as in training.
    """

    collate: Callable[[Any], Any] = staticmethod(collate)
    """From samples, or the error of one, to a batch; a function of a module, for other processes to
    receive it.
    """

    def __init__(
        self,
        train: ImageDataset[S, B],
        val: ImageDataset[S, B],
        *,
        loading: Loading,
        val_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.train, self.val = train, val
        self.loading = loading
        self.val_batch_size = val_batch_size or loading.batch_size
        self._filled: CacheFile | None = None

    def prepare_data(self) -> None:
        """Fill the cache, if there is to be one; Lightning calls this once on each machine."""
        if self.loading.cache == "none":
            return
        self._filled = CacheFile(
            self.loading.cache, self.loading.cache_folder, f"cache-{self._node()}.bin"
        )
        train, val = self.train, self.val

        def decode(index: int) -> Decoded:
            return train.decode(index) if index < len(train) else val.decode(index - len(train))

        self._filled.fill(decode, len(train) + len(val))

    def setup(self, stage: str) -> None:
        """Map the cache that `prepare_data` of this machine filled."""
        if self.loading.cache == "none":
            return
        paths = {self._node(): self._filled and self._filled.path}
        if torch.distributed.is_initialized():
            everyones: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(everyones, paths)
            paths = {node: path for one in everyones for node, path in one.items() if path}
        path = paths[self._node()] or ""
        self.train.cache, self.val.cache = DecodedCache(path), DecodedCache(path, len(self.train))

    def teardown(self, stage: str) -> None:
        """Give up the cache."""
        self.train.cache = self.val.cache = None
        if self._filled is not None:
            self._filled.close()
            self._filled = None

    def on_exception(self, exception: BaseException) -> None:
        """Give up the cache when training fails, too."""
        self.teardown("fit")

    def train_dataloader(self) -> DataLoader[B]:
        """Shuffled and augmented; a last incomplete batch is left to other epochs."""
        sampler = self.train_sampler()
        return self._loader(
            self.train, sampler=sampler, batch_size=self.loading.batch_size, drop_last=True
        )

    def train_sampler(self) -> EpochSampler:
        """This process's order and augmentation seeds, from the first epoch on."""
        chunks = chunks_of(self.train.samples)
        if chunks is None:
            return EpochSampler(len(self.train), **self._sampling())
        return ChunkSampler(chunks, **self._sampling())

    def val_dataloader(self) -> DataLoader[B]:
        """Every validation image once, in order."""
        sampler = ShareSampler(len(self.val), **self._process())
        return self._loader(
            self.val, sampler=sampler, batch_size=self.val_batch_size, drop_last=False
        )

    def on_before_batch_transfer(self, batch: B | ImageError, dataloader_idx: int) -> B:
        """Stop at an image that cannot be decoded."""
        if isinstance(batch, ImageError):
            raise batch
        return batch

    def _node(self) -> int:
        return self.trainer.node_rank if self.trainer else 0

    def _for_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _sampling(self) -> dict[str, Any]:
        """Return the arguments of every kind of sampler."""
        steps = self.loading.epoch_steps
        length = None if steps is None else steps * self.loading.batch_size
        return {"seed": self.loading.seed, "length": length, **self._process()}

    def _process(self) -> dict[str, int]:
        return (
            {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
            if self.trainer
            else {}
        )

    def _loader(self, dataset: ImageDataset[S, B], **options: Any) -> DataLoader[B]:
        workers = self.loading.workers
        check_loading_workers(workers)
        return LateLoader(
            dataset,
            num_workers=workers,
            worker_init_fn=outlive_signals,
            persistent_workers=workers > 0,
            # else every batch on its way to the GPU waits until that has done its work
            pin_memory=self._for_gpu(),
            collate_fn=self.collate,
            **options,
        )
