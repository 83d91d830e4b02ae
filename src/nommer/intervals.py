"""Intervals of numbers over images, by the one bootstrap of the package.

Images are what is resampled: tokens, pixels and objects of one image resemble each other. Numbers
made of sums over images (shares, accuracy, mIoU) are resampled as the images stream by
(`ImageSums`), in memory that does not grow with them. For others, such as average precision,
`how_often` tells which images each resampled data set holds; by the same seed they are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

RESAMPLES = 400
"""Resampled data sets behind an interval."""

LEVEL = 0.95
"""Part of the resampled values that an interval holds."""

_SEVERAL = 2
"""Images from which on there is an interval."""


class Estimates(NamedTuple):
    """Numbers with their intervals, all of the same shape; NaN where there is none."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Resampler:
    """Draws, image after image, how often each resampled data set holds the image.

    Poisson with mean 1: the bootstrap over images where they come one by one and their number is
    not known before. Two resamplers of one seed draw the same, so differences are paired.

    Source: Chamandy, Muralidharan, Najmi and Naidu, "Estimating Uncertainty for Massive Data
    Streams", Google 2012.
    """

    def __init__(self, *, seed: int = 0, resamples: int = RESAMPLES) -> None:
        self._random = np.random.default_rng(seed)
        self.resamples = resamples

    def draw(self) -> np.ndarray:
        """(resamples,) int64: how often each of them holds the next image."""
        return self._random.poisson(1.0, self.resamples)


def how_often(images: int, *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Return how often each resampled data set holds each image, (resamples, images) int64.

    The draws of a `Resampler` of this seed, one after the other.
    """
    resampler = Resampler(seed=seed, resamples=resamples)
    return np.array([resampler.draw() for _ in range(images)]).reshape(images, resamples).T


def ends(resampled: np.ndarray, images: int) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % interval of resampled values; None of one image.

    Values that are NaN are passed over: not all resampled data sets have what there is to measure.
    """
    known = resampled[np.isfinite(resampled)]
    if images < _SEVERAL or not known.size:
        return None, None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of what is finite; NaN where nothing is.

    As in a resampled data set of few images, which may hold none of them.
    """
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = np.where(known, values, 0).sum(-1) / known.sum(-1)
    return mean


def mean_with_interval(
    values: np.ndarray, *, seed: int
) -> tuple[float, float | None, float | None]:
    """Return the mean of one value per image with its 95 % interval, None of one image."""
    return (float(values.mean()), *ends(resampled_mean(values, seed=seed), len(values)))


def resampled_mean(values: np.ndarray, *, seed: int) -> np.ndarray:
    """Return the mean of one value per image in each resampled data set, (resamples,) float64.

    NaN in one that holds no image.
    """
    times = how_often(len(values), seed=seed)
    first = values[0]  # means of what is left keep every bit where all images have the same value
    with np.errstate(invalid="ignore"):
        return first + times @ (values - first) / times.sum(1)


@dataclass(frozen=True, eq=False)
class ImageSums:
    """Sums over images of values in groups, and the same sums of every resampled data set.

    A mean is one sum divided by another, so every token or pixel counts the same, whatever image it
    is from; images, whose tokens resemble each other, are what is resampled.
    """

    total: np.ndarray
    """(groups, values) float64."""
    resampled: np.ndarray
    """(groups, resamples, values) float64."""
    images: np.ndarray
    """(groups,) int64: images that added to each."""

    @classmethod
    def empty(cls, groups: int, values: int, *, resamples: int = RESAMPLES) -> "ImageSums":
        """Sums of nothing."""
        total, resampled = np.zeros((groups, values)), np.zeros((groups, resamples, values))
        return cls(total, resampled, np.zeros(groups, np.int64))

    def add(self, groups: np.ndarray, values: np.ndarray, drawn: np.ndarray) -> None:
        """Add one image.

        Args:
            groups: (n,) int, each once: the groups that it adds to.
            values: (n, values).
            drawn: (resamples,) what `Resampler.draw` says of the image.
        """
        self.total[groups] += values
        self.resampled[groups] += drawn[:, None] * values[:, None]
        self.images[groups] += 1

    def merged(self, into: np.ndarray, count: int) -> "ImageSums":
        """Draw groups together; images may be in several, so at least the largest count stays.

        Args:
            into: (groups,) int: the new group of each.
            count: how many new groups there are.
        """
        merged = ImageSums.empty(count, self.total.shape[1], resamples=self.resampled.shape[1])
        np.add.at(merged.total, into, self.total)
        np.add.at(merged.resampled, into, self.resampled)
        np.maximum.at(merged.images, into, self.images)
        return merged

    def columns(self, chosen: slice) -> "ImageSums":
        """Some of the values."""
        return ImageSums(self.total[:, chosen], self.resampled[:, :, chosen], self.images)

    def estimate(self, measure: Callable[[np.ndarray], np.ndarray]) -> Estimates:
        """Return a function of the sums, such as a mean, with its 95 % interval (percentiles).

        Args:
            measure: from (..., values) to (..., measures); NaN where there is nothing to measure.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            value, resampled = measure(self.total), measure(self.resampled)
        low, high = np.full(value.shape, np.nan), np.full(value.shape, np.nan)
        for group in np.flatnonzero(self.images >= _SEVERAL):
            of_group = np.moveaxis(resampled[group], 0, -1)
            for place in np.ndindex(*of_group.shape[:-1]):
                found = ends(of_group[place], int(self.images[group]))
                low[group][place], high[group][place] = np.array(found, dtype=float)
        return Estimates(value, low, high)
