"""Intervals of an intervention's numbers: means, mIoU and AP of resampled images.

A data set is drawn again and again, with replacement, as many images as it has. What an image adds
to a number is known from evaluating it once, so nothing is evaluated again: for mIoU its pixels per
class, for average precision what COCO's evaluator matched in it, from which the evaluator itself
draws the curves of every resampled data set. What each image adds can be kept, because
interventions are evaluated on a few hundred images.
"""

import numpy as np
from scipy.stats import bootstrap

from nommer.nominations.resampling import LEVEL, RESAMPLES

_RESAMPLES_OF_MEANS = 1000

_AT_A_TIME = 2**20
"""Values that are drawn at a time."""

_SEVERAL = 2
"""Images from which on there is an interval."""


def mean_with_interval(
    values: np.ndarray, *, seed: int
) -> tuple[float, float | None, float | None]:
    """Return the mean of one value per image with its 95 % interval, None of one image."""
    mean = float(values.mean())
    if len(values) < _SEVERAL:
        return mean, None, None
    if (values == values[0]).all():
        return mean, mean, mean
    drawn = bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES_OF_MEANS,
        batch=max(1, _AT_A_TIME // len(values)),
        method="percentile",
        rng=seed,
    )
    return mean, float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def draw_resamples(images: int, *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Draw the images of each resampled data set, (resamples, images) int64, by the seed."""
    return np.random.default_rng(seed).integers(images, size=(resamples, images))


def ends(resampled: np.ndarray, images: int) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % interval of resampled values but NaN; None without any."""
    known = resampled[np.isfinite(resampled)]
    if images < _SEVERAL or not known.size:
        return None, None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
