"""Order and augmentation depend on seed, epoch and sample alone."""

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from nommer.data.seeding import EpochSampler, ShareSampler, derive_seed, seed_all, seeded

sizes, worlds, seeds = st.integers(0, 200), st.integers(1, 9), st.integers(0, 2**31)


@given(size=sizes, world=worlds, seed=seeds, epoch=st.integers(0, 50))
def test_processes_share_an_epoch_equally_and_without_overlap(size, world, seed, epoch):
    samplers = [EpochSampler(size, seed=seed, rank=rank, world_size=world) for rank in range(world)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    shares = [[index for index, _ in sampler] for sampler in samplers]
    assert [len(share) for share in shares] == [size // world] * world == [len(sampler) for sampler in samplers]
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
        len({derive_seed(seed, epoch, index) for seed in range(8) for epoch in range(8) for index in range(8)}) == 512
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
