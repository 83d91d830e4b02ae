"""Nominations of one block on one image, token by token, and the numbers summed over tokens."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.network import NomMer
from nommer.nominations.receptive import mixers
from nommer.nominations.trace import NominationTrace, entropy, nominator_blocks

_NUM = len(CONTEXTS)

MEASURES = (*CONTEXTS, *(f"probability_{name}" for name in CONTEXTS), "margin", "entropy")
"""Measures of tokens, each from 0 to 1.

Shares of the nominated contexts, mean probabilities, mean margin between the best two
probabilities, mean entropy of the probabilities divided by log(number of contexts).
"""

NUM_VALUES = 1 + len(MEASURES)
"""Values that are summed: the number of tokens, and each measure."""


@dataclass(frozen=True)
class BlockCells:
    """Nominations of one block on one image, without padding."""

    nominated: np.ndarray
    """(rows, columns) indices into `CONTEXTS`."""
    probabilities: np.ndarray
    """(rows, columns, 3)."""
    stride: int
    """Pixels per token along one side, of the image as the network sees it."""
    contexts: Sequence[str] = CONTEXTS
    """Contexts that the network has; the others have probability 0."""

    def values(self) -> np.ndarray:
        """(rows * columns, 9): one, and the measures of every token."""
        probabilities = self.probabilities.reshape(-1, _NUM).astype(np.float64)
        ordered = np.sort(probabilities, 1)
        openness = entropy(torch.from_numpy(probabilities), self.contexts).numpy()
        margin = ordered[:, -1] - ordered[:, -2]
        one_hot = np.eye(_NUM)[self.nominated.ravel()]
        return np.column_stack([np.ones(len(one_hot)), one_hot, probabilities, margin, openness])


def block_strides(network: NomMer) -> dict[str, int]:
    """Return the stride of each block that nominates, in pixels of the network's input."""
    nominating = nominator_blocks(network)
    return {
        name: network.config.reductions[stage]
        for stage, name, _ in mixers(network)
        if name in nominating
    }


def cells_of(
    trace: NominationTrace, index: int, size: tuple[int, int], strides: Mapping[str, int]
) -> dict[str, BlockCells]:
    """Per block what a trace with maps holds of one image.

    Args:
        trace: of a batch.
        index: of the image in it.
        size: height and width of the image as the network sees it, without padding.
        strides: pixels per token of each block.
    """
    cells = {}
    for block in trace.blocks:
        rows, columns = (math.ceil(side / strides[block]) for side in size)
        nominated = trace.maps(block)[index, :rows, :columns].numpy()
        probabilities = trace.probabilities(block)[index, :rows, :columns].numpy()
        cells[block] = BlockCells(nominated, probabilities, strides[block], trace.contexts)
    return cells


def pixel_tokens(
    size: Sequence[int], seen: Sequence[int], stride: int, grid: tuple[int, int]
) -> np.ndarray:
    """The token that every pixel lies in, (H, W) index into the flattened grid.

    Args:
        size: (H, W).
        seen: height and width of the image as the network sees it.
        stride: pixels per token along one side, as the network sees them.
        grid: rows and columns.
    """
    places = (np.arange(count) + 0.5 for count in size)
    rows, columns = (
        (place * side / count / stride).astype(int)
        for place, side, count in zip(places, seen, size, strict=True)
    )
    return rows[:, None] * grid[1] + columns
