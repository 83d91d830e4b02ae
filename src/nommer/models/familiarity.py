"""Likeness of an image to those that a classifier learned: in its looks, not in what it shows.

A few statistics of the pixels as the network gets them (means, contrast, detail at four sizes,
how colours go together), and how far they are from those of the validation images: the Mahalanobis
distance. Stained cells are far away from photographs; another object, photographed as those that
were learned, is not. The scores of the network tell the former worse (`docs/results.md`).

Source: the distance as in Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution
Samples", NeurIPS 2018, there of features of the network.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

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
    """Makes differences from the mean uncorrelated, of variance 1."""
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
            tuple(tuple(_rounded(row)) for row in whitening),
            limit=float(f"{held_out.quantile(1 - rate).item():.6g}"),
            rate=rate,
        )

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Familiarity":
        """Read a checked description.

        Raises:
            ValueError: of other statistics than this version has.
        """
        found = cls(
            tuple(map(float, told["mean"])),
            tuple(tuple(map(float, row)) for row in told["whitening"]),
            limit=float(told["limit"]),
            rate=float(told["rate"]),
        )
        if {len(found.mean), len(found.whitening), *map(len, found.whitening)} != {NUM_STATISTICS}:
            raise ValueError(f"familiarity must be of {NUM_STATISTICS} statistics")
        return found

    def distances(self, seen: Tensor) -> Tensor:
        """Return (n,) distances of images, by their statistics."""
        mean = torch.tensor(self.mean, dtype=torch.float64)
        return _distances(seen, mean, torch.tensor(self.whitening, dtype=torch.float64))

    def refused(self, seen: Tensor) -> Tensor:
        """Return (n,) bool: images that are too far away, by their statistics."""
        return self.distances(seen) > self.limit

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


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
