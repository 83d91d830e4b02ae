"""Sums over images, resampled as they stream by, in memory that does not grow with them."""

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
    not known before.

    Source: Chamandy, Muralidharan, Najmi and Naidu, "Estimating Uncertainty for Massive Data
    Streams", Google 2012.
    """

    def __init__(self, *, seed: int = 0, resamples: int = RESAMPLES) -> None:
        self._random = np.random.default_rng(seed)
        self.resamples = resamples

    def draw(self) -> np.ndarray:
        """(resamples,) float64: how often each of them holds the next image."""
        return self._random.poisson(1.0, self.resamples).astype(np.float64)


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
            of_group = np.moveaxis(
                resampled[group], 0, -1
            )  # not all resampled data sets have what there is to measure
            for place in np.ndindex(*of_group.shape[:-1]):
                known = of_group[place][np.isfinite(of_group[place])]
                if known.size:
                    ends = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
                    low[group][place], high[group][place] = ends
        return Estimates(value, low, high)
