"""From a dense network to the scores of every pixel of an image, at any size and in bounded memory.

Train's validation, evaluate and predict all come through `score_bands`: the whole image at once, or
windows whose overlaps are blended; one view of the image, or several (scales, mirrored). Scores are
enlarged to the image's own size band by band, so that no tensor of all classes and all pixels is
ever held.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil, floor

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nommer.errors import InputError
from nommer.settings.inference import Inference
from nommer.shapes import BandScores, ClassMap, Images, ImageScores, NextImages

WHOLE_PIXELS = 2**21
"""Up to this many pixels, mode "auto" takes an image whole; also what one step of a sliding window
may hold.
"""

_BAND = 2**23
"""Scores (classes x pixels) that are enlarged at a time."""


class DenseNetwork(nn.Module):
    """The demands of sliding and enlarging on a network.

    `forward` gives the scores at the images' own size.
    """

    num_classes: int
    stride: int
    """Pixels per cell of `scores`, along one side."""
    fixed_size: int | None = None
    """Side of the only images that the network takes; None for any size."""

    def scores(self, images: Images) -> ClassMap:
        """Return class scores of the cells of normalised images (B, 3, H, W).

        They are (B, classes, ceil(H / stride), ceil(W / stride)).
        """
        raise NotImplementedError

    def notice_padding(self, side: int) -> None:
        """Take notice that an image is padded because it has a side of less than `side` pixels."""


@torch.inference_mode()
def score_bands(
    network: DenseNetwork,
    image: Images,
    *,
    size: tuple[int, int],
    inference: Inference,
    window: int,
) -> Iterator[tuple[int, BandScores]]:
    """The scores of every pixel, in bands of rows from top to bottom.

    Args:
        network: in evaluation mode, on the device of `image`.
        image: one normalised image (1, 3, h, w) as the network sees it.
        size: height and width (H, W) at which scores are wanted: the image's own, or its mask's.
        inference: how.
        window: side of the sliding window where `inference` names none.

    Yields:
        The first row of a band, and its scores (classes, rows, W) float32, whose softmax are the
        probabilities: the network's own where there is one view, else the logarithm of the mean
        probabilities.

    Raises:
        InputError: another way than the one that a network of fixed size can go.
    """
    views = list(_views(network, image, size, *_possible(network, inference, window)))
    height, width = size
    step = max(1, _BAND // (network.num_classes * width))
    for start in range(0, height, step):
        stop = min(start + step, height)
        yield start, views[0].rows(start, stop) if len(views) == 1 else _mean(views, start, stop)


def _mean(views: Sequence["_View"], start: int, stop: int) -> BandScores:
    """The logarithm of the views' mean probabilities."""
    probabilities = views[0].rows(start, stop).softmax(0)
    for view in views[1:]:
        probabilities += view.rows(start, stop).softmax(0)
    return (probabilities / len(views)).clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def _possible(network: DenseNetwork, inference: Inference, window: int) -> tuple[Inference, int]:
    """Return the inference and the side of the window that the network can do."""
    window = inference.window or window
    if network.fixed_size is None:
        return inference, ceil(window / network.stride) * network.stride
    side = network.fixed_size
    if inference.mode == "whole" or inference.window not in (None, side):
        raise InputError(
            f"an exported model takes windows of {side} x {side} pixels and nothing else: "
            "leave out inference.mode and inference.window"
        )
    return replace(inference, mode="slide"), side


def _views(
    network: DenseNetwork, image: Images, size: tuple[int, int], inference: Inference, window: int
) -> Iterator["_View"]:
    for scale in inference.scales:
        sides = [max(1, round(side * scale)) for side in image.shape[-2:]]
        resized = image
        if scale != 1:
            resized = F.interpolate(image, size=sides, mode="bilinear", antialias=True)
        fits = sides[0] * sides[1] <= WHOLE_PIXELS
        for mirrored in (False, True) if inference.flip else (False,):
            seen = resized.flip(-1) if mirrored else resized
            if inference.mode == "whole" or (inference.mode == "auto" and fits):
                strips = _whole(network, seen)
            else:
                strips = _slide(network, seen, window, inference.overlap)
            yield _View(strips, (sides[0], sides[1]), network.stride, size, mirrored=mirrored)


class _View:
    """One look at an image, at a scale and perhaps mirrored.

    Its scores are enlarged row by row, downwards only.
    """

    def __init__(
        self,
        strips: Iterator[ImageScores],
        seen: tuple[int, int],
        stride: int,
        size: tuple[int, int],
        *,
        mirrored: bool,
    ) -> None:
        self.strips, self.size, self.mirrored = strips, size, mirrored
        self.cells = [ceil(side / stride) for side in seen]
        self.cells_per_pixel = [
            side / wanted / stride for side, wanted in zip(seen, size, strict=True)
        ]
        self.kept = next(strips)[:, :, : self.cells[1]]
        self.first = 0
        """Row of cells that `kept` begins with."""

    def rows(self, start: int, stop: int) -> BandScores:
        """Scores of the rows of pixels from `start` up to `stop`, (classes, rows, W)."""
        upper, lower, weight = self._between(start, stop, axis=0)
        first, last = int(upper[0]), int(lower[-1])
        self._keep(first, last)
        wide = self._widen(self.kept[:, : last + 1 - first])
        above, below, weight = (
            part.to(wide.device) for part in (upper - first, lower - first, weight)
        )
        enlarged = torch.lerp(wide[:, above], wide[:, below], weight[:, None])
        return enlarged.flip(-1) if self.mirrored else enlarged

    def _widen(self, cells: ImageScores) -> BandScores:
        left, right, weight = (
            part.to(cells.device) for part in self._between(0, self.size[1], axis=1)
        )
        return torch.lerp(cells[..., left], cells[..., right], weight)

    def _between(self, start: int, stop: int, *, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        """For pixels from `start` up to `stop`.

        The cells before and after, and the weight of the latter; on the CPU.

        There they cost no waiting for a GPU, and Apple's have no float64.
        """
        pixels = torch.arange(start, stop, dtype=torch.float64, device="cpu")
        position = ((pixels + 0.5) * self.cells_per_pixel[axis] - 0.5).clamp(
            0, self.cells[axis] - 1
        )
        before = position.floor().long()
        return before, (before + 1).clamp_max(self.cells[axis] - 1), (position - before).float()

    def _keep(self, first: int, last: int) -> None:
        """Hold the rows of cells from `first` to `last`, and forget those before them."""
        while self.first + self.kept.shape[1] <= last:
            self.kept = torch.cat([self.kept, next(self.strips)[:, :, : self.cells[1]]], 1)
        self.kept, self.first = self.kept[:, first - self.first :], first


def _whole(network: DenseNetwork, image: Images) -> Iterator[ImageScores]:
    yield network.scores(image)[0].float()


def _slide(
    network: DenseNetwork, image: Images, window: int, overlap: float
) -> Iterator[ImageScores]:
    """Scores of all cells in strips of rows, from windows that are blended where they overlap."""
    padded = _pad(image, network)
    cells = [side // network.stride for side in padded.shape[-2:]]
    sides = [min(window // network.stride, count) for count in cells]
    tops, lefts = (starts(count, side, overlap) for count, side in zip(cells, sides, strict=True))
    ramp = _ramp(sides[0], image.device)[:, None]
    total, weights = (
        image.new_zeros(network.num_classes, sides[0], cells[1]),
        torch.zeros_like(ramp),
    )
    for top, following in zip(tops, [*tops[1:], cells[0]], strict=True):
        band = padded[..., top * network.stride : (top + sides[0]) * network.stride, :]
        total += ramp * _across(network, band, lefts, sides[1])
        weights += ramp
        done = following - top  # rows that no later window reaches
        yield total[:, :done] / weights[:done]
        total, weights = (F.pad(rows[..., done:, :], (0, 0, 0, done)) for rows in (total, weights))


def _across(network: DenseNetwork, band: Images, lefts: list[int], side: int) -> ImageScores:
    """Return the scores of one row of windows, `side` cells wide, that begin at `lefts`."""
    stride, ramp = network.stride, _ramp(side, band.device)
    shape = (band.shape[-2] // stride, band.shape[-1] // stride)
    total, weights = band.new_zeros(network.num_classes, *shape), band.new_zeros(shape[1])
    step = max(1, WHOLE_PIXELS // (band.shape[-2] * side * stride))
    for group in (lefts[start : start + step] for start in range(0, len(lefts), step)):
        windows = torch.cat([band[..., left * stride : (left + side) * stride] for left in group])
        for left, scores in zip(group, network.scores(windows).float(), strict=True):
            total[..., left : left + side] += ramp * scores
            weights[left : left + side] += ramp
    return total / weights


def _pad(image: Images, network: DenseNetwork) -> NextImages:
    """Return the image with zeros at the right and bottom, up to whole cells.

    Where the network's size is fixed, up to one window.
    """
    height, width = (max(side, network.fixed_size or 0) for side in image.shape[-2:])
    if (height, width) != image.shape[-2:]:
        network.notice_padding(network.fixed_size or 0)
    bottom, right = (-(-side // network.stride) * network.stride for side in (height, width))
    if (bottom, right) == image.shape[-2:]:
        return image
    return F.pad(image, (0, right - image.shape[-1], 0, bottom - image.shape[-2]))


def starts(cells: int, side: int, overlap: float) -> list[int]:
    """Return where windows of `side` cells, or pixels, begin so that they cover all evenly.

    They overlap enough.
    """
    step = max(1, floor(side * (1 - overlap)))
    count = ceil((cells - side) / step) + 1
    return [round(index * (cells - side) / max(1, count - 1)) for index in range(count)]


def _ramp(side: int, device: torch.device) -> Float[Tensor, "side"]:
    """Weights of a window's cells along one axis.

    Most in the middle, falling evenly to nearly nothing at the ends.
    """
    cells = torch.arange(side, device=device)
    return torch.minimum(cells, cells.flip(0)) + 0.5
