"""Randomness that depends on (seed, epoch, sample) alone.

Not on workers, processes, or where a run was resumed.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

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


def seed_processor(seed: int) -> None:
    """Seed the CPU's generators; `torch.manual_seed` would also wake the GPUs."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run with the CPU's generators seeded, and leave them as they were found.

    That takes longer than to seed again.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_processor(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (index, seed of its augmentation), shuffled anew every pass.

    Each process gets its own equal share. An epoch is one pass over the data; what the shares leave
    over (fewer images than processes) is left to other epochs. With `length` an epoch is a stretch
    of an endless stream of such passes instead, which the processes take in turns: every sample
    comes once per pass, none is lost between epochs, and where one stretch ends the next begins. So
    a schedule by steps needs no second notion of progress beside epochs.

    Args:
        size: samples in the data.
        seed: of order and augmentation.
        rank: which of the processes this is.
        world_size: how many there are.
        length: samples of an epoch, for each process; by default its share of one pass.
    """

    def __init__(
        self, size: int, *, seed: int, rank: int = 0, world_size: int = 1, length: int | None = None
    ) -> None:
        self.size, self.seed, self.rank, self.world_size, self.length = (
            size,
            seed,
            rank,
            world_size,
            length,
        )
        self.epoch = 0
        self._skipped = (-1, 0)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch, also after resuming."""
        self.epoch = epoch

    def skip(self, epoch: int, samples: int) -> None:
        """Leave out the first `samples` of this process's share of one epoch.

        They were seen before resuming, and are not even decoded again.
        """
        self._skipped = (epoch, samples)

    def __len__(self) -> int:
        return self.size // self.world_size if self.length is None else self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first = 0 if self.length is None else self.epoch * len(self) * self.world_size
        seen = self._skipped[1] if self._skipped[0] == self.epoch else 0
        shuffled, order = -1, np.arange(0)
        for place in range(first + self.rank, first + len(self) * self.world_size, self.world_size)[
            seen:
        ]:
            turn, position = divmod(place, self.size)
            number = self.epoch + turn if self.length is None else turn
            if number != shuffled:
                shuffled, order = number, self._order(number)
            index = int(order[position])
            yield index, self._augmentation_seed(number, position, index)

    def _order(self, number: int) -> np.ndarray:
        """The samples in the order of one pass."""
        return np.random.default_rng(derive_seed(self.seed, number)).permutation(self.size)

    def _augmentation_seed(self, number: int, position: int, index: int) -> int:
        """The seed of a sample in one pass."""
        return derive_seed(self.seed, number, index)


class GroupedSampler(EpochSampler):
    """Samples that belong to groups, by which their order is drawn.

    Args:
        groups: number of the group of every sample.
        **options: of `EpochSampler`.
    """

    def __init__(self, groups: Sequence[int], **options: Any) -> None:
        super().__init__(len(groups), **options)
        numbers = np.asarray(groups)
        self.members = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]


class ChunkSampler(GroupedSampler):
    """Each sample once in a pass, those of a few chunks together, so that few need be here at once.

    The chunks come in an order that is drawn anew each pass; of every `TOGETHER` that follow each
    other the samples are shuffled. Groups are the chunks in which the samples lie.
    """

    def _order(self, number: int) -> np.ndarray:
        """The chunks in turn, and the samples of a few at a time."""
        random = np.random.default_rng(derive_seed(self.seed, number))
        turns = random.permutation(len(self.members))
        starts = range(0, len(turns), TOGETHER)
        parts = ([self.members[n] for n in turns[start : start + TOGETHER]] for start in starts)
        return np.concatenate([random.permutation(np.concatenate(part)) for part in parts])


TOGETHER = 8
"""Chunks whose samples are shuffled among each other."""


class BalancedSampler(GroupedSampler):
    """As many samples of every class in each pass.

    Those of small classes several times, of large ones other each time.

    Classes take turns, in an order that is drawn anew each round; within a class its samples do,
    each once before any comes again. A sample that comes again is changed at random in another way.
    Groups are the classes.
    """

    def _order(self, number: int) -> np.ndarray:
        """The classes in turn, and in each its samples in turn."""
        random = np.random.default_rng(derive_seed(self.seed, number))
        rounds = -(-self.size // len(self.members))
        columns = [_repeated(members, rounds, random) for members in self.members]
        return random.permuted(np.stack(columns, axis=1), axis=1).reshape(-1)[: self.size]

    def _augmentation_seed(self, number: int, position: int, index: int) -> int:
        """The seed of a place in one pass, as a sample may have several."""
        return derive_seed(self.seed, number, index, position)


def _repeated(members: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` of `members`, shuffled anew each time that all have come."""
    return np.concatenate([random.permutation(members) for _ in range(-(-count // len(members)))])[
        :count
    ]


class ShareSampler(Sampler[int]):
    """Each process its own share of the data in order.

    No sample twice, so evaluation counts each once.
    """

    def __init__(self, size: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, size, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
