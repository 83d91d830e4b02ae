"""Randomness that depends on (seed, epoch, sample) alone: not on workers, processes, or where a run was resumed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import Sampler


def derive_seed(*numbers: int) -> int:
    """A 32-bit seed that is a well-mixed function of non-negative `numbers`."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run with the CPU's generators seeded, and leave them as they were found."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would also wake the GPUs
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (index, seed of its augmentation), shuffled anew every pass, each process its own equal share.

    An epoch is one pass over the data; what the shares leave over (fewer images than processes) is left to other
    epochs. With `length` an epoch is a stretch of an endless stream of such passes instead, which the processes take in
    turns: every sample comes once per pass, none is lost between epochs, and where one stretch ends the next begins.

    Args:
        size: samples in the data.
        seed: of order and augmentation.
        rank: which of the processes this is.
        world_size: how many there are.
        length: samples of an epoch, for each process; by default its share of one pass.
    """

    def __init__(self, size: int, *, seed: int, rank: int = 0, world_size: int = 1, length: int | None = None) -> None:
        self.size, self.seed, self.rank, self.world_size, self.length = size, seed, rank, world_size, length
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch, also after resuming."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size // self.world_size if self.length is None else self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first = 0 if self.length is None else self.epoch * len(self) * self.world_size
        shuffled, order = -1, np.arange(0)
        for place in range(first + self.rank, first + len(self) * self.world_size, self.world_size):
            turn, position = divmod(place, self.size)
            number = self.epoch + turn if self.length is None else turn
            if number != shuffled:
                shuffled, order = number, self._order(number)
            index = int(order[position])
            yield index, derive_seed(self.seed, number, index)

    def _order(self, number: int) -> np.ndarray:
        """The samples in the order of one pass."""
        return np.random.default_rng(derive_seed(self.seed, number)).permutation(self.size)


class ShareSampler(Sampler[int]):
    """Each process its own share of the data in order; no sample twice, so evaluation counts each once."""

    def __init__(self, size: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, size, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
