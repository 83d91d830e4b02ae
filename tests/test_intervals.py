"""Sums over images, and the intervals that resampling gives them."""

import numpy as np
import pytest

from nommer.intervals import (
    ImageSums,
    Resampler,
    ends,
    how_often,
    mean_of_known,
    mean_with_interval,
)


def mean(values):
    return values[..., 1:] / values[..., :1]


def filled(numbers, *, seed=0, resamples=400):
    """Sums over images of one group, each with one number counted once."""
    resampler, sums = (
        Resampler(seed=seed, resamples=resamples),
        ImageSums.empty(1, 2, resamples=resamples),
    )
    for number in numbers:
        sums.add(np.array([0]), np.array([[1.0, number]]), resampler.draw())
    return sums


def test_sums_are_those_of_the_literal_loop():
    rng, sums, resampler = (
        np.random.default_rng(0),
        ImageSums.empty(4, 3, resamples=7),
        Resampler(resamples=7),
    )
    total, resampled = np.zeros((4, 3)), np.zeros((4, 7, 3))
    for _ in range(20):
        groups, values, drawn = rng.permutation(4)[:2], rng.random((2, 3)), resampler.draw()
        sums.add(groups, values, drawn)
        for group, value in zip(groups, values, strict=True):
            total[group] += value
            for number in range(7):
                resampled[group, number] += drawn[number] * value
    assert np.allclose(sums.total, total)
    assert np.allclose(sums.resampled, resampled)
    assert sums.images.sum() == 40


def test_the_interval_is_that_of_a_mean():
    numbers = np.random.default_rng(1).random(400)
    value, low, high = filled(numbers, resamples=2000).estimate(mean)
    error = numbers.std() / np.sqrt(len(numbers))
    assert value.item() == pytest.approx(numbers.mean())
    assert (numbers.mean() - low.item()) / error == pytest.approx(1.96, rel=0.15)
    assert (high.item() - numbers.mean()) / error == pytest.approx(1.96, rel=0.15)


def test_one_image_has_no_interval_and_none_no_value():
    value, low, high = filled([0.5]).estimate(mean)
    assert value.item() == 0.5
    assert np.isnan(low).all()
    assert np.isnan(high).all()
    assert np.isnan(filled([]).estimate(mean).value).all()


def test_the_same_seed_gives_the_same_interval():
    numbers = np.random.default_rng(2).random(20)
    first, again, other = (filled(numbers, seed=seed).estimate(mean) for seed in (3, 3, 4))
    assert np.array_equal(first.low, again.low)
    assert not np.array_equal(first.low, other.low)


def test_merged_groups_are_added_up():
    sums, resampler = ImageSums.empty(3, 2, resamples=5), Resampler(resamples=5)
    for group in (0, 1, 1, 2):
        sums.add(np.array([group]), np.array([[1.0, group]]), resampler.draw())
    merged = sums.merged(np.array([0, 0, 1]), 2)
    assert merged.total.tolist() == [[3, 2], [1, 2]]
    assert np.allclose(merged.resampled[0], sums.resampled[0] + sums.resampled[1])
    assert sums.columns(slice(1, 2)).total.tolist() == [[0], [2], [2]]


def test_memory_does_not_grow_with_the_images():
    few, many = filled(np.zeros(2)), filled(np.zeros(2000))
    assert few.resampled.nbytes == many.resampled.nbytes


def test_the_draws_at_once_are_those_of_a_stream():
    drawn, resampler = how_often(7, seed=3, resamples=1000), Resampler(seed=3, resamples=1000)
    assert drawn.shape == (1000, 7)
    assert (drawn == np.stack([resampler.draw() for _ in range(7)], 1)).all()
    assert drawn.sum(0) == pytest.approx(1000, rel=0.15)
    assert drawn.min() == 0
    assert how_often(0, seed=3).shape == (400, 0)


def test_the_mean_of_a_stream_has_the_interval_of_its_values():
    numbers = np.random.default_rng(5).random(30)
    streamed = filled(numbers, seed=6).estimate(mean)
    assert mean_with_interval(numbers, seed=6) == pytest.approx(
        tuple(number.item() for number in streamed)
    )


def test_ends_hold_what_is_known():
    values = np.append(np.linspace(0, 1, 401), [np.nan] * 50)
    assert ends(values, 9) == pytest.approx((0.025, 0.975))
    assert ends(values, 1) == (None, None), "one image resembles no other"
    assert ends(np.full(3, np.nan), 9) == (None, None)


def test_intervals_of_means():
    values = np.random.default_rng(0).normal(1, 1, 400)
    mean_, low, high = mean_with_interval(values, seed=0)
    assert mean_ == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.15)
    assert mean_with_interval(np.array([0.5]), seed=0) == (0.5, None, None)
    assert mean_with_interval(np.array([0.5, 0.5]), seed=0) == (0.5, 0.5, 0.5)


def test_means_pass_over_what_is_not_known():
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.inf, np.nan]])
    first, second = mean_of_known(values)
    assert first == 2
    assert np.isnan(second)
