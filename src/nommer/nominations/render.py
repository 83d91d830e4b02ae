"""Pictures of nominations: the image, and over it the context that every token nominates in each block."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from nommer.backbone.contexts import CONTEXTS

CONTEXT_COLOURS = {"convolution": "#0072B2", "window": "#E69F00", "global": "#CC79A7"}
"""From the Okabe-Ito palette, which people with colour-blind eyes can tell apart."""

_OPACITY = 0.6

_MOST_REGIONS = 20
"""Parts of the image whose shares are shown, those with the most pixels."""

_READING = """First row: the context that each token
nominates, the one with the highest score.

Second row: the softmax of the scores, the
three colours mixed by it; grey where
the contest was close.

Under each map: the mean over all tokens."""

_READING_REGIONS = """

Bars: the nominated contexts once more, in
parts of what was predicted."""


def overlay(image: Image.Image, weights: Tensor) -> Image.Image:
    """The image in grey, each token's cell tinted with the colours of the contexts, mixed by their weights.

    Args:
        image: what the network saw, an RGB image, possibly enlarged.
        weights: (rows, columns, 3), adding to 1 per token: one-hot for what was nominated, or probabilities.
    """
    palette = np.array([to_rgb(CONTEXT_COLOURS[name]) for name in CONTEXTS]) * 255
    colours = weights.double().numpy() @ palette
    rows = np.arange(image.height) * len(colours) // image.height
    columns = np.arange(image.width) * colours.shape[1] // image.width
    grey = np.asarray(image.convert("L"), dtype=float)[..., None]
    tinted = (1 - _OPACITY) * grey + _OPACITY * colours[rows[:, None], columns]
    return Image.fromarray(np.round(tinted).astype(np.uint8))


@dataclass(frozen=True)
class Regions:
    """What the picture of a segmenter's or detector's nominations shows besides: its answer, and parts of the image."""

    answer: Image.Image
    """The image with what was predicted in it."""
    shares: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Per block and part of the image the share of each context."""
    colours: Mapping[str, tuple[int, int, int]]
    """RGB colour (0-255) of each part in `answer`."""


def nomination_figure(
    image: Image.Image,
    nominated: Mapping[str, Tensor],
    probabilities: Mapping[str, Tensor],
    *,
    title: str,
    regions: Regions | None = None,
) -> Figure:
    """The image beside what every nominator block nominates, and below it how probable each context was.

    Args:
        image: what the network saw, an RGB image.
        nominated: per block (rows, columns) context indices.
        probabilities: per block (rows, columns, 3), the softmax of the scores.
        title: written over the picture.
        regions: of a segmenter or detector: its answer is shown under the image, and in a third row the shares.
    """
    shown = visible(image)
    figure, axes = _panels(len(nominated) + 1, image, regions)
    axes[0, 0].imshow(shown)
    axes[0, 0].set_title("image", fontsize=10)
    axes[-1, 0].axis("off")
    reading = _READING + (_READING_REGIONS if regions else "")
    axes[-1, 0].text(0, 0.5, reading, fontsize=9, va="center", wrap=True, transform=axes[-1, 0].transAxes)
    if regions:
        axes[1, 0].imshow(visible(regions.answer))
        axes[1, 0].set_xlabel("predicted", fontsize=9)
    for column, name in zip(axes[:, 1:].T, nominated, strict=True):
        rows, columns = nominated[name].shape
        one_hot = torch.nn.functional.one_hot(nominated[name].long(), len(CONTEXTS))
        column[0].set_title(f"{name}\n{rows} x {columns} tokens", fontsize=10)
        _show_weights(column[0], shown, one_hot, "nominated")
        _show_weights(column[1], shown, probabilities[name], "probability")
        if regions:
            _show_regions(column[2], regions.shares[name])
    if regions:
        _name_regions(axes[2, 1], regions)
    handles = [Patch(color=CONTEXT_COLOURS[name], label=name, alpha=_OPACITY) for name in CONTEXTS]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, title="context")
    figure.suptitle(title, fontsize=11)
    return figure


def _panels(columns: int, image: Image.Image, regions: Regions | None) -> tuple[Figure, np.ndarray]:
    """An empty figure with two rows of panels, or three."""
    heights = [4.0, 4.0]
    if regions:
        picture = 2.8 * min(2.0, max(0.3, image.height / image.width)) + 1
        parts = max(map(len, regions.shares.values()))
        heights = [picture, picture, 1 + 0.22 * min(parts, _MOST_REGIONS)]
    figure = Figure(figsize=(2.8 * columns, sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
    return figure, axes


def _show_regions(axes: Axes, shares: Mapping[str, Mapping[str, float]]) -> None:
    """A bar per part of the image, divided by the shares of the contexts; the largest part on top."""
    shown = list(shares.values())[:_MOST_REGIONS]
    left = np.zeros(len(shown))
    for context in CONTEXTS:
        widths = np.array([of_region[context] for of_region in shown])
        axes.barh(range(len(shown)), widths, left=left, color=CONTEXT_COLOURS[context], alpha=_OPACITY)
        left += widths
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xticks=[0, 0.5, 1], xticklabels=["0", "50%", "100%"], xlabel="share of its pixels")
    axes.xaxis.label.set_fontsize(9)


def _name_regions(axes: Axes, regions: Regions) -> None:
    """The names of the parts before their bars, and their colours."""
    names = list(next(iter(regions.shares.values())))[:_MOST_REGIONS]
    colours = [np.array(regions.colours[name]) / 255 for name in names]
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.tick_params("y", length=0, pad=16)
    places = [-0.04] * len(names)
    axes.scatter(places, range(len(names)), c=colours, marker="s", edgecolors="black", linewidths=0.5, clip_on=False)


def _show_weights(axes: Axes, image: Image.Image, weights: Tensor, what: str) -> None:
    axes.imshow(overlay(image, weights))
    means = weights.double().mean((0, 1)).tolist()
    axes.set_xlabel(
        "\n".join(f"{mean:.0%} {context}" for context, mean in zip(CONTEXTS, means, strict=True)), fontsize=9
    )
    axes.set_ylabel(what, fontsize=9)


def visible(image: Image.Image, smallest: int = 256, largest: int = 768) -> Image.Image:
    """A small image enlarged by a whole factor, a large one shrunk."""
    factor = max(1, -(-smallest // max(image.size)))
    enlarged = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    enlarged.thumbnail((largest, largest))
    return enlarged
