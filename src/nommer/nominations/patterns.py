"""The working pattern over a data set: how often, where and how clearly contexts are nominated."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from nommer.intervals import Estimates, ImageSums, Resampler
from nommer.nominations.agreement import TABLE, agreement, joint_table, neighbour_table, same_grid
from nommer.nominations.cells import MEASURES, NUM_VALUES, BlockCells, pixel_tokens
from nommer.nominations.regions import OUTSIDE
from nommer.nominations.texture import (
    FLAT,
    NUM_BINS,
    energy_bins,
    energy_edge,
    fine_share,
    gradient_energy,
    share_bins,
    share_edge,
)

QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")

FLAT_GROUP = "flat"
"""Tokens without any variation under them."""


@dataclass(frozen=True)
class Facet:
    """A way to divide tokens, or pixels, into groups."""

    name: str
    groups: tuple[str, ...]
    unit: str = "pixels"
    """Unit: "pixels", each with the context of the token it lies in, or "tokens"."""


class Pattern:
    """Statistics of nominations, to which images are added one by one, in constant memory.

    Args:
        blocks: names of the nominator blocks, in forward order.
        facets: ways to divide what is in an image.
        seed: of the intervals.
    """

    def __init__(self, blocks: Sequence[str], facets: Sequence[Facet], *, seed: int = 0) -> None:
        self.blocks, self.facets = tuple(blocks), {facet.name: facet for facet in facets}
        self.pairs = tuple(combinations(range(len(blocks)), 2))
        self.images = 0
        self._resampler = Resampler(seed=seed)
        width = len(blocks) * NUM_VALUES
        self._all = self._sums(1, width)
        self._by_facet = {facet.name: self._sums(len(facet.groups), width) for facet in facets}
        self._texture = {name: self._sums(FLAT + 1, width) for name in ("gradient", "frequency")}
        self._neighbours = self._sums(len(blocks), TABLE)
        self._between = self._sums(len(self.pairs), TABLE)

    def _sums(self, groups: int, values: int) -> ImageSums:
        return ImageSums.empty(groups, values, resamples=self._resampler.resamples)

    def add(
        self,
        cells: Mapping[str, BlockCells],
        brightness: np.ndarray,
        groups: Mapping[str, np.ndarray],
    ) -> None:
        """Add one image.

        Args:
            cells: of every block, in their order.
            brightness: (h, w), 0 to 1, of the image as the network sees it.
            groups: per facet a map (H, W) of indices into its groups, of the whole image at any
                size, or (1, 1) where all of the image is in one group.
        """
        drawn = self._resampler.draw()
        values = [cells[block].values() for block in self.blocks]
        grids = [cells[block].nominated.shape for block in self.blocks]
        places = [
            (cells[block].stride, grid) for block, grid in zip(self.blocks, grids, strict=True)
        ]
        self.images += 1
        self._add(self._all, [np.zeros(grid, int) for grid in grids], values, drawn)
        for name, map_ in groups.items():
            if self.facets[name].unit == "pixels":
                size = brightness.shape
                tokens = [pixel_tokens(map_.shape, size, *place) for place in places]
                self._add(self._by_facet[name], [map_] * len(values), values, drawn, tokens)
            else:
                maps = [np.broadcast_to(map_, grid) for grid in grids]
                self._add(self._by_facet[name], maps, values, drawn)
        energies = [gradient_energy(brightness, *place) for place in places]
        fine = [fine_share(brightness, *place) for place in places]
        self._add(
            self._texture["gradient"], [energy_bins(energy) for energy in energies], values, drawn
        )
        self._add(
            self._texture["frequency"], [share_bins(shares) for shares in fine], values, drawn
        )
        self._add_agreement([cells[block].nominated for block in self.blocks], drawn)

    def _add(
        self,
        sums: ImageSums,
        maps: Sequence[np.ndarray],
        values: Sequence[np.ndarray],
        drawn: np.ndarray,
        tokens: Sequence[np.ndarray] | None = None,
    ) -> None:
        """Add every block's tokens to the groups in its map; `tokens` says which a pixel is in."""
        added = np.zeros((len(sums.total), len(maps), NUM_VALUES))
        for block, (map_, of_block) in enumerate(zip(maps, values, strict=True)):
            places = np.arange(map_.size).reshape(map_.shape) if tokens is None else tokens[block]
            counted = map_ != OUTSIDE
            inside = map_[counted]
            groups = np.flatnonzero(np.bincount(inside, minlength=len(added)))
            compact = np.zeros(len(added), np.int64)
            compact[groups] = np.arange(len(groups))
            size = len(groups) * len(of_block)
            counts = np.bincount(compact[inside] * len(of_block) + places[counted], minlength=size)
            added[groups, block] = counts.reshape(len(groups), len(of_block)) @ of_block
        touched = np.flatnonzero(added[:, :, 0].any(1))
        sums.add(touched, added[touched].reshape(len(touched), sums.total.shape[1]), drawn)

    def _add_agreement(self, maps: Sequence[np.ndarray], drawn: np.ndarray) -> None:
        tables = np.array([neighbour_table(map_) for map_ in maps]).reshape(len(maps), -1)
        self._neighbours.add(np.arange(len(maps)), tables, drawn)
        if self.pairs:
            between = np.array(
                [joint_table(*same_grid(maps[first], maps[second])) for first, second in self.pairs]
            )
            self._between.add(
                np.arange(len(self.pairs)), between.reshape(len(self.pairs), -1), drawn
            )

    # ---- what is read off

    def overall(self) -> list[dict[str, Any]]:
        """One row per block: tokens, images, and every measure with its interval."""
        return self._rows(self._all, ("all",), "tokens", group=False)

    def by(self, facet: str) -> list[dict[str, Any]]:
        """One row per block and group of a facet that occurs, the groups in their order."""
        chosen = self.facets[facet]
        return self._rows(self._by_facet[facet], chosen.groups, chosen.unit)

    def by_gradient(self) -> list[dict[str, Any]]:
        """Return a row per block and quarter of its tokens by mean squared gradient.

        A quarter is drawn together from bins that share images, so its images are not counted.
        """
        return self._by_quarter("gradient", energy_edge)

    def by_frequency(self) -> list[dict[str, Any]]:
        """Return a row per block and quarter of tokens by fine frequencies, one for flat cells."""
        return self._by_quarter("frequency", share_edge)

    def _by_quarter(self, name: str, edge: Callable[[int], float]) -> list[dict[str, Any]]:
        rows = []
        for block in range(len(self.blocks)):
            sums = self._texture[name].columns(slice(block * NUM_VALUES, (block + 1) * NUM_VALUES))
            quarters = quarters_of(sums.total[:NUM_BINS, 0])
            merged = sums.merged(np.append(quarters, len(QUARTERS)), len(QUARTERS) + 1)
            of_block = self._rows(
                merged, (*QUARTERS, FLAT_GROUP), "tokens", blocks=self.blocks[block : block + 1]
            )
            filled = np.flatnonzero(sums.total[:NUM_BINS, 0])
            for row in of_block:
                del row["images"]
                inside = [int(bin_) for bin_ in filled if QUARTERS[quarters[bin_]] == row["group"]]
                ends = (edge(inside[0]), edge(inside[-1] + 1)) if inside else (None, None)
                rows.append(row | dict(zip(("from", "to"), ends, strict=True)))
        return rows

    def _rows(
        self,
        sums: ImageSums,
        groups: Sequence[str],
        unit: str,
        *,
        blocks: Sequence[str] | None = None,
        group: bool = True,
    ) -> list[dict[str, Any]]:
        blocks = self.blocks if blocks is None else blocks
        estimates = sums.estimate(
            lambda values: _means(values.reshape(*values.shape[:-1], len(blocks), NUM_VALUES))
        )
        rows = []
        for number, block in enumerate(blocks):
            for index, name in enumerate(groups):
                count = sums.total[index, number * NUM_VALUES]
                if count:
                    row = {"block": block, **({"group": name} if group else {}), unit: int(count)}
                    row["images"] = int(sums.images[index])
                    rows.append(row | _named(estimates, (index, number), MEASURES))
        return rows

    def neighbours(self) -> list[dict[str, Any]]:
        """Return a row per block: agreement of neighbouring tokens, that of chance, and kappa."""
        rows = _agreement(
            self._neighbours
        )  # whose tables have each pair twice, once in either order
        return [
            {"block": block, **row, "pairs": row["pairs"] // 2}
            for block, row in zip(self.blocks, rows, strict=True)
        ]

    def between(self) -> list[dict[str, Any]]:
        """Return a row per pair of blocks: their agreement at the same place, on the finer grid."""
        pairs = [(self.blocks[first], self.blocks[second]) for first, second in self.pairs]
        rows = _agreement(self._between)
        return [{"block": a, "other": b, **row} for (a, b), row in zip(pairs, rows, strict=True)]


def _means(values: np.ndarray) -> np.ndarray:
    return values[..., 1:] / values[..., :1]


def _named(
    estimates: Estimates, place: tuple[int, ...], names: Sequence[str]
) -> dict[str, float | None]:
    row: dict[str, float | None] = {}
    for index, name in enumerate(names):
        for ending, numbers in zip(("", "_low", "_high"), estimates, strict=True):
            number = float(numbers[(*place, index)])
            row[f"{name}{ending}"] = number if math.isfinite(number) else None
    return row


def _agreement(sums: ImageSums) -> list[dict[str, Any]]:
    estimates = sums.estimate(agreement)
    return [
        {
            "pairs": int(sums.total[index].sum()),
            **_named(estimates, (index,), ("agreement", "by_chance", "kappa")),
        }
        for index in range(len(sums.total))
    ]


def quarters_of(counts: np.ndarray) -> np.ndarray:
    """Return the quarter, 0 to 3, of each bin, so that each quarter counts about as much.

    A bin belongs to the quarter that its middle lies in.
    """
    middle = np.cumsum(counts) - counts / 2
    return np.clip(
        (middle / max(counts.sum(), 1) * len(QUARTERS)).astype(int), 0, len(QUARTERS) - 1
    )
