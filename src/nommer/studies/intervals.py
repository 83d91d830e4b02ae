"""How sure the numbers of an intervention are.

Means over images, mIoU and average precision of resampled images.

A data set is drawn again and again, with replacement, as many images as it has. What an image adds
to a number is known from judging it once, so nothing is judged again: for mIoU its pixels per
class, for average precision what COCO's evaluator matched in it, from which the evaluator itself
draws the curves of every resampled data set.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy.stats import bootstrap

from nommer.nominations.resampling import LEVEL, RESAMPLES
from nommer.tasks.detection.metrics import coco_evaluation

_RESAMPLES_OF_MEANS = 1000

_AT_A_TIME = 2**20
"""Values that are drawn at a time."""

_SEVERAL = 2
"""Images from which on there is an interval."""


def mean_with_interval(
    values: np.ndarray, *, seed: int
) -> tuple[float, float | None, float | None]:
    """The mean of one value per image with its 95 % interval (bootstrap over images), which one
    image has not.
    """
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
    """(resamples, images) int64: the images of each resampled data set, drawn with replacement.

    The same for a seed.
    """
    return np.random.default_rng(seed).integers(images, size=(resamples, images))


def ends(resampled: np.ndarray, images: int) -> tuple[float | None, float | None]:
    """The ends of the 95 % interval of resampled values, of which NaN count for nothing.

    None where there is none.
    """
    known = resampled[np.isfinite(resampled)]
    if images < _SEVERAL or not known.size:
        return None, None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def resampled_means(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(resamples,) means of one value per image."""
    return values[drawn].mean(1)


def class_pixels(labels: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """What an image adds to the IoU of each class, (3, classes) int64.

    Pixels found, true, and predicted.

    Args:
        labels: (H, W) classes predicted.
        truth: (H, W) true classes; values beyond them are ignored.
        num_classes: how many there are.
    """
    known = truth < num_classes
    found, true, predicted = truth[known & (labels == truth)], truth[known], labels[known]
    return np.stack(
        [np.bincount(pixels, minlength=num_classes) for pixels in (found, true, predicted)]
    )


def resampled_miou(pixels: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(resamples,) mIoU of resampled data sets; NaN where no pixel counts.

    Args:
        pixels: (images, 3, classes), of `class_pixels`.
        drawn: (resamples, images), of `draw_resamples`.
    """
    times = np.stack([np.bincount(images, minlength=len(pixels)) for images in drawn])
    found, true, predicted = np.einsum(
        "ri,ijc->jrc", times.astype(float), pixels.astype(float), optimize=True
    )
    union = true + predicted - found
    occurs = union > 0
    ious = np.divide(found, union, out=np.zeros_like(union), where=occurs)
    with np.errstate(invalid="ignore"):
        return ious.sum(1) / occurs.sum(1)


def resampled_precision(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: Literal["bbox", "segm"],
    drawn: np.ndarray,
    *,
    most: int,
) -> np.ndarray:
    """(resamples,) average precision over IoU 0.5 to 0.95 of resampled data sets.

    NaN where there is nothing to find.

    Args:
        truth: content of a COCO JSON file.
        results: detections, as `average_precision` takes them.
        kind: what is compared.
        drawn: (resamples, images), of `draw_resamples`: places among the images in the order of
            their ids.
        most: detections per image that count, the surest ones.
    """
    evaluation = coco_evaluation(truth, results, kind, separate_eval=True)
    params = evaluation.params
    params.maxDets, params.areaRng, params.areaRngLbl = (
        [most],
        params.areaRng[:1],
        params.areaRngLbl[:1],
    )
    evaluation.evaluate()
    of_images = np.array(evaluation._evalImgs_cpp, object).reshape(
        len(truth["categories"]), -1
    )  # as it matched them
    values = []
    for images in drawn:
        evaluation._evalImgs_cpp = of_images[:, images].ravel().tolist()
        evaluation.accumulate()
        precision = evaluation.eval["precision"]
        valid = precision[precision > -1]
        values.append(valid.mean() if valid.size else np.nan)
    return np.array(values)
