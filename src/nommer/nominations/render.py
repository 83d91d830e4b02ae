"""Pictures of nominations: over the image, the context that every token nominates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from nommer.backbone.contexts import CONTEXTS
from nommer.nominations.trace import entropy

CONTEXT_COLOURS = {"convolution": "#0072B2", "window": "#E69F00", "global": "#882255"}
"""From the palettes of Okabe and Ito, and Tol; colour-blind eyes see them 32 apart in CIE Lab."""

Span = tuple[float, float]
"""Tokens that an image spans, down and across; the last ones may lie partly on padding."""

_OPACITY = 0.6

_MOST_REGIONS = 20
"""Parts of the image whose shares are shown, those with the most pixels."""

_MOST_IN_A_COLUMN = 4
"""Blocks that stand one under the other; more are shown in two columns."""

_SIDE = 2.8
"""Width of a panel, in inches."""

_READING = """Nominated: the context that each token nominates,
the one with the highest score.

Probability: the softmax of the scores, the colours
mixed by it; grey where the contest was close.

Entropy of that: dark (0) where one context was
certain, bright (1) where all were as probable.

Under each map: the mean over all tokens."""

_READING_REGIONS = """

Bars: the nominated contexts once more, in parts of
what was predicted."""


def overlay(image: Image.Image, weights: Tensor, span: Span | None = None) -> Image.Image:
    """Tint each token's cell of the grey image with the colours of contexts, mixed by weight.

    Args:
        image: what the network saw, an RGB image, possibly enlarged.
        weights: (rows, columns, 3), adding to 1 per token: one-hot for what was nominated, or
            probabilities.
        span: how many tokens the image spans; by default all.
    """
    palette = np.array([to_rgb(CONTEXT_COLOURS[name]) for name in CONTEXTS])
    return _tint(image, weights.double().numpy() @ palette, span)


def _tint(image: Image.Image, colours: np.ndarray, span: Span | None) -> Image.Image:
    """Lay colours (rows, columns, 3) of tokens, 0 to 1, over the grey image."""
    down, across = span or (len(colours), colours.shape[1])
    rows = ((np.arange(image.height) + 0.5) * down / image.height).astype(int)
    columns = ((np.arange(image.width) + 0.5) * across / image.width).astype(int)
    grey = np.asarray(image.convert("L"), dtype=float)[..., None]
    tinted = (1 - _OPACITY) * grey + _OPACITY * 255 * colours[rows[:, None], columns]
    return Image.fromarray(np.round(tinted).astype(np.uint8))


@dataclass(frozen=True)
class Regions:
    """A segmenter's or detector's answer, and parts of the image, to be shown besides."""

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
    spans: Mapping[str, Span],
    contexts: Sequence[str] = CONTEXTS,
    regions: Regions | None = None,
) -> Figure:
    """Draw the image and, by block, nominations, probabilities and entropy.

    Args:
        image: what the network saw, an RGB image.
        nominated: per block (rows, columns) context indices.
        probabilities: per block (rows, columns, 3), the softmax of the scores.
        title: written over the picture.
        spans: per block how many tokens the image spans.
        contexts: that the network has; the others' probabilities are 0.
        regions: of a segmenter or detector: its answer is shown beside the image, and beside each
            map the shares.
    """
    shown = visible(image)
    figure, header, panels = _panels(list(nominated), image, regions)
    _show_header(header, shown, regions)
    for name, row in panels.items():
        rows, columns = nominated[name].shape
        one_hot = torch.nn.functional.one_hot(nominated[name].long(), len(CONTEXTS))
        row[0].set_ylabel(f"{name}\n{rows} x {columns} tokens", fontsize=10)
        _show_weights(row[0], overlay(shown, one_hot, spans[name]), one_hot, contexts)
        _show_weights(
            row[1], overlay(shown, probabilities[name], spans[name]), probabilities[name], contexts
        )
        openness = entropy(probabilities[name].double(), contexts)
        row[2].imshow(
            _tint(shown, mpl.colormaps["cividis"](openness.numpy())[..., :3], spans[name])
        )
        row[2].set_xlabel(f"mean {openness.mean():.2f}", fontsize=9)
        if regions:
            _show_regions(row[3], regions.shares[name])
            _name_regions(row[3], regions, list(regions.shares[name]))
    handles = [Patch(color=CONTEXT_COLOURS[name], label=name, alpha=_OPACITY) for name in contexts]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, title="context")
    figure.suptitle(title, fontsize=11)
    return figure


def _panels(
    blocks: Sequence[str], image: Image.Image, regions: Regions | None
) -> tuple[Figure, np.ndarray, dict[str, np.ndarray]]:
    """Return an empty figure: a row of panels at the top, and one of three or four per block."""
    names = ["nominated", "probability", "entropy", *(["in parts"] if regions else [])]
    folds = 1 if len(blocks) <= _MOST_IN_A_COLUMN else 2
    rows, picture = -(-len(blocks) // folds), _SIDE * min(2.0, max(0.3, image.height / image.width))
    parts = min(_MOST_REGIONS, max(map(len, regions.shares.values()))) if regions else 0
    heights = [
        max(picture + 0.2, 2.6 if regions else 2.2),
        *([max(picture + 0.7, 0.8 + 0.2 * parts)] * rows),
    ]
    figure = Figure(figsize=(_SIDE * len(names) * folds, sum(heights) + 1), layout="constrained")
    axes = figure.subplots(1 + rows, len(names) * folds, squeeze=False, height_ratios=heights)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
        panel.set_visible(False)
    of_blocks = {}
    for index, block in enumerate(blocks):
        fold, row = divmod(index, rows)
        of_blocks[block] = axes[1 + row, fold * len(names) : (fold + 1) * len(names)]
        for panel, name in zip(of_blocks[block], names, strict=True):
            panel.set_visible(True)
            panel.set_title(name if row == 0 else "", fontsize=10)
    return figure, axes[0], of_blocks


def _show_header(panels: np.ndarray, shown: Image.Image, regions: Regions | None) -> None:
    """The image, what was predicted in it, and how to read the rest."""
    pictures = {"image": shown, **({"predicted": visible(regions.answer)} if regions else {})}
    for panel, (name, picture) in zip(panels, pictures.items(), strict=False):
        panel.set_visible(True)
        panel.imshow(picture)
        panel.set_title(name, fontsize=10)
    text = panels[len(pictures)]
    text.set_visible(True)
    text.axis("off")
    reading = _READING + (_READING_REGIONS if regions else "")
    text.text(0.06, 0.5, reading, fontsize=9, va="center", transform=text.transAxes).set_in_layout(
        False
    )


def _show_regions(axes: Axes, shares: Mapping[str, Mapping[str, float]]) -> None:
    """Draw a bar per part of the image, divided by the shares of contexts, the largest on top."""
    shown = list(shares.values())[:_MOST_REGIONS]
    left = np.zeros(len(shown))
    for context in CONTEXTS:
        widths = np.array([of_region[context] for of_region in shown])
        axes.barh(
            range(len(shown)), widths, left=left, color=CONTEXT_COLOURS[context], alpha=_OPACITY
        )
        left += widths
    axes.invert_yaxis()
    axes.set(
        xlim=(0, 1),
        xticks=[0, 0.5, 1],
        xticklabels=["0", "50%", "100%"],
        xlabel="share of its pixels",
    )
    axes.xaxis.label.set_fontsize(9)


def _name_regions(axes: Axes, regions: Regions, parts: Sequence[str]) -> None:
    """The names of the parts before their bars, and their colours."""
    names = list(parts)[:_MOST_REGIONS]
    colours = [np.array(regions.colours[name]) / 255 for name in names]
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.tick_params("y", length=0, pad=16)
    places = [-0.04] * len(names)
    axes.scatter(
        places,
        range(len(names)),
        c=colours,
        marker="s",
        edgecolors="black",
        linewidths=0.5,
        clip_on=False,
    )


def _show_weights(
    axes: Axes, tinted: Image.Image, weights: Tensor, contexts: Sequence[str]
) -> None:
    axes.imshow(tinted)
    means = dict(zip(CONTEXTS, weights.double().mean((0, 1)).tolist(), strict=True))
    axes.set_xlabel(
        "\n".join(f"{means[context]:.0%} {context}" for context in contexts), fontsize=9
    )


def visible(image: Image.Image, smallest: int = 256, largest: int = 768) -> Image.Image:
    """A small image enlarged by a whole factor, a large one shrunk, to sides that fit a panel."""
    factor = max(1, -(-smallest // max(image.size)))
    enlarged = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    enlarged.thumbnail((largest, largest))
    return enlarged
