"""Segmentation: what is kept of an image's pixels to find decisions by: some of them, by chance."""

from typing import NamedTuple

import torch
from torch import Tensor

from nommer.data.masks import IGNORE
from nommer.shapes import BandScores

PIXELS = 400
"""Of an image; neighbours are alike, so that more tell little more."""


class PixelEvidence(NamedTuple):
    """Some pixels of an image whose truth is a class."""

    logits: Tensor
    """(n, classes)."""
    truth: Tensor
    """(n,) classes."""


class PixelSample:
    """Picks pixels of an image while its scores come band by band.

    Args:
        truth: (H, W) true labels.
        seed: of the choice.
    """

    def __init__(self, truth: Tensor, *, seed: int) -> None:
        height, width = truth.shape
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.unique(torch.randint(height * width, (PIXELS,), generator=generator))
        self._rows, self._columns = drawn // width, drawn % width
        self._truth = truth[self._rows, self._columns].cpu()
        self._logits: list[Tensor] = []

    def add(self, start: int, scores: BandScores) -> None:
        """Take the scores of a band of rows (classes, rows, W) that begins at row `start`."""
        inside = (self._rows >= start) & (self._rows < start + scores.shape[1])
        found = scores[:, self._rows[inside] - start, self._columns[inside]]
        self._logits.append(found.T.float().cpu())

    def evidence(self) -> PixelEvidence:
        """Return what was picked, but for pixels that are ignored."""
        known = self._truth != IGNORE
        return PixelEvidence(torch.cat(self._logits)[known], self._truth[known].long())
