"""Likeness of an image to those that a classifier learned: in its looks, not in what it shows.

A few statistics of the pixels as the network gets them (means, contrast, detail at four sizes,
how colours go together), the means of the features of a NomMer's second stage, and how far all that
is from those of the validation images: the Mahalanobis distance. Stained cells and digits are far
away from photographs; another object, photographed as those that were learned, is not. The scores
of the network tell the former worse, and its last features too (`docs/results.md`).

Source: the distance as in Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution
Samples", NeurIPS 2018, there of each class.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nommer.backbone.network import NomMer
from nommer.errors import InputError
from nommer.models.exported_networks import FEATURES, OUTPUT, ExportedNetwork
from nommer.shapes import Images

LEVELS = 4
"""Sizes at which detail is looked at, each half of the one before."""

DARK, FLAT, GREY = 0.02, 0.005, 0.999
"""Least contrast and detail that are told apart, and largest correlation of two colours."""

_SHRINKAGE = 0.01
"""Added to the variance of every statistic, in its own units, so that none is taken for certain."""

_LEAST_SPREAD = 1e-3
"""Least deviation of a statistic."""

NUM_STATISTICS = 6 + 3 * LEVELS + 3
"""Of the pixels."""

STAGES = 2
"""Stages of a NomMer before the features are taken: early ones tell how an image looks."""


def scores_and_features(network: Any, images: Images) -> tuple[Tensor, Tensor | None]:
    """Return class scores (B, classes), and what the network sees early of images (B, 3, H, W).

    The latter are the means of the features of stage 2 over all places, (B, width); None of a
    network of timm, of an ensemble, and of a file that does not tell them.
    """
    if isinstance(network, ExportedNetwork) and FEATURES in network.outputs:
        scores, features = network.run_all((OUTPUT, FEATURES), images)
        return scores, features
    if not isinstance(network, NomMer):
        return network(images), None
    if "forward" in vars(network):  # it is compiled, and faster than what it is made of
        *_, early = islice(network.stage_outputs(images), STAGES)
        return network(images), early.mean((1, 2))
    outputs = list(network.stage_outputs(images))
    scores = network.forward_head(network.norm(outputs[-1]))
    return scores, outputs[STAGES - 1].mean((1, 2))


def appearance(images: Images, features: Tensor | None) -> Float[Tensor, "images statistics"]:
    """Return the statistics of prepared images, and their features where they are known."""
    found = statistics(images)
    return found if features is None else torch.cat([found, features.detach().cpu().double()], 1)


def statistics(images: Images) -> Float[Tensor, "images statistics"]:
    """Return statistics of the pixels of prepared images, float64 on the CPU."""
    pixels = images.detach().cpu().double()
    found = [pixels.mean((2, 3)), (pixels.std((2, 3)) + DARK).log()]
    detailed = pixels
    for _ in range(LEVELS):
        half = F.avg_pool2d(detailed, 2, ceil_mode=True)
        fine = detailed - F.interpolate(half, size=detailed.shape[-2:])
        found.append((fine.std((2, 3)) + FLAT).log())
        detailed = half
    return torch.cat([*found, _colours(pixels)], 1)


def _colours(pixels: Tensor) -> Tensor:
    """Return (images, 3) correlations of red and green, green and blue, red and blue."""
    around = pixels.flatten(2) - pixels.flatten(2).mean(2, keepdim=True)
    products = around @ around.transpose(1, 2)
    lengths = (products.diagonal(dim1=1, dim2=2) + 1e-3).sqrt()
    found = products / lengths[:, :, None] / lengths[:, None]
    pairs = torch.stack([found[:, 0, 1], found[:, 1, 2], found[:, 0, 2]], 1)
    return pairs.clamp(-GREY, GREY).atanh()


@dataclass(frozen=True)
class Familiarity:
    """The statistics of the validation images, and how far an image may be from them."""

    mean: tuple[float, ...]
    """Of every statistic."""
    whitening: tuple[tuple[float, ...], ...]
    """Makes differences from the mean uncorrelated, of variance 1: the lower triangle of a matrix,
    row by row."""
    limit: float
    """Distance beyond which an image is refused."""
    rate: float
    """Share of the validation images, which all show a class, that are refused so."""

    @classmethod
    def fit(cls, seen: Tensor, *, rate: float) -> "Familiarity":
        """Find mean, spread and limit.

        The limit is found on halves of the images, each seen from the other one.

        Args:
            seen: (n, statistics) of images that are to be answered.
            rate: share of them that may be refused.
        """
        drawn = torch.randperm(len(seen), generator=torch.Generator().manual_seed(0))
        halves = seen[drawn[::2]], seen[drawn[1::2]]
        held_out = torch.cat(
            [_distances(one, *_fit(other)) for one, other in (halves, halves[::-1])]
        )
        mean, whitening = _fit(seen)
        return cls(
            tuple(_rounded(mean)),
            tuple(tuple(_rounded(row[: at + 1])) for at, row in enumerate(whitening)),
            limit=float(f"{held_out.quantile(1 - rate).item():.6g}"),
            rate=rate,
        )

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Familiarity":
        """Read a checked description.

        Raises:
            ValueError: of fewer statistics than this version has, or a whitening that does not fit.
        """
        mean, rows = tuple(map(float, told["mean"])), told["whitening"]
        if len(mean) < NUM_STATISTICS:
            raise ValueError(f"familiarity must be of {NUM_STATISTICS} statistics or more")
        if len(rows) != len(mean) or any(
            len(row) not in (at + 1, len(mean)) for at, row in enumerate(rows)
        ):
            raise ValueError("familiarity must have a row of whitening for each statistic")
        lower = tuple(tuple(map(float, row[: at + 1])) for at, row in enumerate(rows))
        return cls(mean, lower, limit=float(told["limit"]), rate=float(told["rate"]))

    @property
    def uses_features(self) -> bool:
        """Features of the network are looked at too."""
        return len(self.mean) > NUM_STATISTICS

    def whitening_matrix(self) -> Tensor:
        """Return the whitening as a matrix (statistics, statistics), float64."""
        count = len(self.mean)
        rows = [[*row, *[0.0] * (count - len(row))] for row in self.whitening]
        return torch.tensor(rows, dtype=torch.float64)

    def distances(self, seen: Tensor) -> Tensor:
        """Return (n,) distances of images, by their statistics.

        Raises:
            InputError: not as many statistics as it was fitted on.
        """
        if seen.shape[1] != len(self.mean):
            raise InputError(
                f"decisions: familiarity is of {len(self.mean)} numbers, but {seen.shape[1]} are "
                "known of an image; `nommer evaluate MODEL --data DATA --calibrate` finds it anew"
            )
        mean = torch.tensor(self.mean, dtype=torch.float64)
        return _distances(seen, mean, self.whitening_matrix())

    def refused(self, seen: Tensor) -> Tensor:
        """Return (n,) bool: images that are too far away, by their statistics."""
        return self.distances(seen) > self.limit

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return vars(self).copy()


def _fit(seen: Tensor) -> tuple[Tensor, Tensor]:
    mean, spread = seen.mean(0), seen.std(0).clamp_min(_LEAST_SPREAD)
    scaled = (seen - mean) / spread
    covariance = scaled.T.cov() + _SHRINKAGE * torch.eye(seen.shape[1], dtype=seen.dtype)
    root = torch.linalg.inv(torch.linalg.cholesky(covariance))
    return mean, root / spread


def _distances(seen: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
    return ((seen - mean) @ whitening.T).norm(dim=1)


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]
