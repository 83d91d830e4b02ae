"""Agreement of tokens on the context they nominate, against what chance would give."""

import numpy as np

from nommer.backbone.contexts import CONTEXTS

_NUM = len(CONTEXTS)

TABLE = _NUM**2
"""Entries of a table of two tokens' contexts."""


def agreement(tables: np.ndarray) -> np.ndarray:
    """Return observed agreement, that of chance and Cohen's kappa (..., 3) of tables (..., 9).

    By chance: as often as if both nominated by their shares, independently. Kappa is 1 for the same
    everywhere, 0 for chance, and NaN where chance alone agrees always, with one context for all
    tokens.
    """
    tables = tables.reshape(*tables.shape[:-1], _NUM, _NUM)
    whole = tables.sum((-2, -1))
    observed = np.trace(tables, axis1=-2, axis2=-1) / whole
    chance = (tables.sum(-1) * tables.sum(-2)).sum(-1) / whole**2
    return np.stack(
        [observed, chance, np.where(chance < 1, (observed - chance) / (1 - chance), np.nan)], -1
    )


def joint_table(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Count (3, 3) the contexts of `first` (rows) against those of `second` (columns)."""
    pairs = first.astype(np.int64).ravel() * _NUM + second.ravel()
    return np.bincount(pairs, minlength=TABLE).reshape(_NUM, _NUM)


def neighbour_table(map_: np.ndarray) -> np.ndarray:
    """Count (3, 3) all pairs of tokens next to each other, each pair in both orders."""
    table = joint_table(map_[:, :-1], map_[:, 1:]) + joint_table(map_[:-1], map_[1:])
    return table + table.T


def same_grid(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two maps of one image on the finer grid, each token of the coarser one in several places."""
    fine, coarse = (first, second) if first.size >= second.size else (second, first)
    many = max(
        -(-side // of_coarse) for side, of_coarse in zip(fine.shape, coarse.shape, strict=True)
    )
    spread = coarse.repeat(many, 0).repeat(many, 1)[: fine.shape[0], : fine.shape[1]]
    return (fine, spread) if fine is first else (spread, fine)
