"""Intervals of what decisions do: calibration, risk over coverage and F1, images resampled.

Answers, pixels and classes of one image resemble each other, so images are what is drawn; sums over
each of them are made once. An interval of the calibration error leans upwards, for chance makes
errors of its own in every bin of a resampled data set (Kumar et al., "Verified Uncertainty
Calibration", NeurIPS 2019).
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from nommer.intervals import ends
from nommer.tasks.calibration import BINS, Evidence

Intervals = dict[str, list[float]]


def intervals_of(resampled: Mapping[str, np.ndarray], images: int) -> Intervals:
    """Return the ends of the 95 % interval of each number, without those that have none."""
    found = {name: ends(values, images) for name, values in resampled.items()}
    return {name: list(pair) for name, pair in found.items() if None not in pair}  # type: ignore[arg-type]


def resampled_calibration(
    evidence: Evidence, scaling: Tensor, times: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the numbers of `Calibration` in every resampled data set, (resamples,) each.

    Args:
        evidence: scores with the truth, of some images.
        scaling: temperatures and offsets, (2, 1 or classes).
        times: (resamples, images) int64: how often each data set holds each image.
    """
    images, draws = times.shape[1], times.astype(np.float64)
    sure, right = (part.double().numpy() for part in evidence.answers(scaling))
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    cells = evidence.images.numpy() * BINS + bins
    gaps = np.bincount(cells, right - sure, images * BINS).reshape(images, BINS)
    number = draws @ sums_of_images(np.ones(len(sure)), evidence, images)
    means = {"nll": evidence.losses(scaling), "brier": evidence.squares(scaling)}
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            name: draws @ sums_of_images(values.numpy(), evidence, images) / number
            for name, values in means.items()
        }
        return {"ece": np.abs(draws @ gaps).sum(1) / number, **found}


def calibration_intervals(
    evidence: Evidence, before: Tensor, after: Tensor, times: np.ndarray
) -> dict[str, Intervals]:
    """Return intervals "before" and "after" a scaling, and of the "difference", after less before.

    The difference is of the same resampled images.
    """
    images = times.shape[1]
    pair = [resampled_calibration(evidence, scaling, times) for scaling in (before, after)]
    gained = {name: pair[1][name] - pair[0][name] for name in pair[0]}
    names = ("before", "after", "difference")
    return {n: intervals_of(one, images) for n, one in zip(names, (*pair, gained), strict=True)}


def sums_of_images(values: np.ndarray, evidence: Evidence, images: int) -> np.ndarray:
    """Return (images,) sums of one value per answer."""
    return np.bincount(evidence.images.numpy(), values, images)


def resampled_risks(
    evidence: Evidence, scaling: Tensor, times: np.ndarray, coverages: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the risk at some coverages, (resamples, coverages), and the area, (resamples,).

    NaN in a data set that holds nothing. For the arguments see `resampled_calibration`; the risk is
    that of `calibration.risk_coverage`.
    """
    sure, right = (part.numpy() for part in evidence.answers(scaling))
    order = np.argsort(-sure, kind="stable")
    wrong, images = ~right[order], evidence.images.numpy()[order]
    found = np.full((len(times), len(coverages) + 1), np.nan)
    for row, drawn in zip(found, times, strict=True):
        weights = drawn[images]
        kept = weights > 0
        if kept.any():
            counted = weights[kept].cumsum()
            risk = (weights[kept] * wrong[kept]).cumsum() / counted
            places = np.searchsorted(counted, np.array(coverages) * counted[-1])
            row[:-1] = risk[np.minimum(places, len(risk) - 1)]
            row[-1] = (risk * weights[kept]).sum() / counted[-1]
    return found[:, :-1], found[:, -1]


def resampled_f1(
    answered: np.ndarray, evidence: Evidence, wanted: np.ndarray, times: np.ndarray
) -> dict[str, np.ndarray]:
    """Return precision, recall and F1 in every resampled data set, (resamples,) each.

    Args:
        answered: (n,) bool, of the evidence.
        evidence: answers, of which each is right or not.
        wanted: (images,) what there is to find in each.
        times: (resamples, images) int64.
    """
    images, draws = times.shape[1], times.astype(np.float64)
    found = answered & evidence.truth.numpy()
    finds, answers = (
        draws @ sums_of_images(part.astype(np.float64), evidence, images)
        for part in (found, answered)
    )
    sought = draws @ wanted
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "precision": finds / answers,
            "recall": finds / sought,
            "f1": 2 * finds / (answers + sought),
        }
