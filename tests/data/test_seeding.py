"""Order and augmentation depend on seed, epoch and sample alone."""

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from nommer.data.seeding import (
    BalancedSampler,
    EpochSampler,
    ShareSampler,
    derive_seed,
    seed_all,
    seeded,
)

sizes, worlds, seeds = st.integers(0, 200), st.integers(1, 9), st.integers(0, 2**31)


@given(size=sizes, world=worlds, seed=seeds, epoch=st.integers(0, 50))
def test_processes_share_an_epoch_equally_and_without_overlap(size, world, seed, epoch):
    samplers = [EpochSampler(size, seed=seed, rank=rank, world_size=world) for rank in range(world)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    shares = [[index for index, _ in sampler] for sampler in samplers]
    assert (
        [len(share) for share in shares]
        == [size // world] * world
        == [len(sampler) for sampler in samplers]
    )
    seen = [index for share in shares for index in share]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(size))


@given(size=sizes, world=worlds, seed=seeds)
def test_a_samples_augmentation_is_the_same_however_many_processes(size, world, seed):
    alone = dict(EpochSampler(size, seed=seed))
    for rank in range(world):
        for index, augmentation in EpochSampler(size, seed=seed, rank=rank, world_size=world):
            assert alone[index] == augmentation


def test_every_epoch_has_its_own_order_and_augmentation_and_any_can_be_had_again():
    sampler = EpochSampler(50, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert [index for index, _ in first] != [index for index, _ in second]
    assert not {seed for _, seed in first} & {seed for _, seed in second}
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert list(EpochSampler(50, seed=2)) != first


def literal_epoch(size, seed, epoch, rank, world):
    """The order and seeds of an epoch as they have been since the first version.

    Runs of then must go on.
    """
    order = np.random.default_rng(derive_seed(seed, epoch)).permutation(size)
    return [(int(i), derive_seed(seed, epoch, int(i))) for i in order[rank::world][: size // world]]


@given(size=sizes, world=worlds, seed=seeds, epoch=st.integers(0, 50), data=st.data())
def test_an_epoch_is_what_it_always_was(size, world, seed, epoch, data):
    rank = data.draw(st.integers(0, world - 1))
    sampler = EpochSampler(size, seed=seed, rank=rank, world_size=world)
    sampler.set_epoch(epoch)
    assert list(sampler) == literal_epoch(size, seed, epoch, rank, world)


def stretch(size, seed, length, epochs, world=1):
    """The samples of some epochs of a given length, of all processes as one stream."""
    stream = []
    for epoch in epochs:
        shares = []
        for rank in range(world):
            sampler = EpochSampler(size, seed=seed, rank=rank, world_size=world, length=length)
            sampler.set_epoch(epoch)
            assert len(sampler) == length
            shares.append(list(sampler))
        stream += [item for turn in zip(*shares, strict=True) for item in turn]
    return stream


lengths = st.integers(1, 40)


class TestEpochsOfAGivenLength:
    @given(
        size=st.integers(1, 30),
        length=lengths,
        world=st.integers(1, 4),
        seed=seeds,
        epochs=st.integers(1, 5),
    )
    def test_are_stretches_of_the_passes_without_gap_or_overlap(
        self, size, length, world, seed, epochs
    ):
        stream = stretch(size, seed, length, range(epochs), world)
        passes = [
            item
            for number in range(-(-len(stream) // size))
            for item in literal_epoch(size, seed, number, 0, 1)
        ]
        assert stream == passes[: epochs * length * world]

    @given(size=st.integers(1, 30), length=lengths, seed=seeds)
    def test_show_every_sample_once_per_pass(self, size, length, seed):
        stream = stretch(size, seed, length, range(-(-3 * size // length)))
        for number in range(3):
            shown = stream[number * size : (number + 1) * size]
            assert sorted(index for index, _ in shown) == list(range(size))
        assert len(set(stream[: 3 * size])) == 3 * size, "every time with another augmentation"

    @given(size=st.integers(1, 30), length=lengths, seed=seeds, epoch=st.integers(0, 30))
    def test_can_be_had_without_those_before(self, size, length, seed, epoch):
        assert (
            stretch(size, seed, length, [epoch])
            == stretch(size, seed, length, range(epoch + 1))[-length:]
        )

    @given(
        size=st.integers(1, 30),
        length=lengths,
        seed=seeds,
        epoch=st.integers(0, 9),
        world=st.integers(1, 4),
    )
    def test_see_the_same_samples_however_many_processes(self, size, length, seed, epoch, world):
        assert stretch(size, seed, length, [epoch], world) == stretch(
            size, seed, length * world, [epoch]
        )


@given(size=sizes, world=worlds)
def test_evaluation_sees_every_sample_once(size, world):
    shares = [ShareSampler(size, rank=rank, world_size=world) for rank in range(world)]
    assert sorted(index for share in shares for index in share) == list(range(size))
    assert [len(list(share)) for share in shares] == [len(share) for share in shares]


@given(st.lists(seeds, min_size=1, max_size=4))
def test_derived_seeds_are_repeatable_32_bit_numbers(numbers):
    assert derive_seed(*numbers) == derive_seed(*numbers)
    assert 0 <= derive_seed(*numbers) < 2**32


def test_derived_seeds_of_neighbours_differ():
    assert (
        len(
            {
                derive_seed(seed, epoch, index)
                for seed in range(8)
                for epoch in range(8)
                for index in range(8)
            }
        )
        == 512
    )


def draws():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_seeded_fixes_all_generators_and_leaves_them_as_they_were():
    seed_all(7)
    expected = draws(), draws()
    seed_all(7)
    before = draws()
    with seeded(3):
        inside = draws()
    assert (before, draws()) == expected
    with seeded(3):
        assert draws() == inside
    assert inside not in expected


class TestBalanced:
    @given(
        counts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
        seed=seeds,
        epoch=st.integers(0, 9),
    )
    def test_every_class_comes_as_often_as_the_others(self, counts, seed, epoch):
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        sampler = BalancedSampler(labels, seed=seed)
        sampler.set_epoch(epoch)
        drawn = [index for index, _ in sampler]
        assert len(drawn) == len(labels)
        by_class = np.bincount([labels[index] for index in drawn], minlength=len(counts))
        assert by_class.max() - by_class.min() <= 1
        times = np.bincount(drawn, minlength=len(labels))
        for label in range(len(counts)):
            own = times[np.array(labels) == label]
            assert own.max() - own.min() <= 1, "within a class each as often as the others"

    @given(world=worlds, seed=seeds, seen=st.integers(0, 5))
    def test_processes_share_it_and_go_on_within_an_epoch(self, world, seed, seen):
        labels = [0] * 40 + [1] * 8 + [2] * 3
        alone = list(BalancedSampler(labels, seed=seed))
        shares = [
            list(BalancedSampler(labels, seed=seed, rank=rank, world_size=world))
            for rank in range(world)
        ]
        assert [pair for pairs in zip(*shares, strict=True) for pair in pairs] == alone[
            : 51 // world * world
        ]
        resumed = BalancedSampler(labels, seed=seed, world_size=world)
        resumed.skip(0, seen)
        assert list(resumed) == shares[0][seen:]

    def test_an_image_that_comes_again_is_changed_in_another_way(self):
        drawn = list(BalancedSampler([0] * 40 + [1] * 2, seed=1))
        assert len(set(drawn)) == len(drawn) > len({index for index, _ in drawn})
