"""Pictures of nominations: the image, and over it the context that every token nominates in each block."""

from collections.abc import Mapping

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

_READING = """Above: the context that each token
nominates, the one with the highest score.

Below: the softmax of the scores, the
three colours mixed by it; grey where
the contest was close.

Under each map: the mean over all tokens."""


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


def nomination_figure(
    image: Image.Image, nominated: Mapping[str, Tensor], probabilities: Mapping[str, Tensor], *, title: str
) -> Figure:
    """The image beside what every nominator block nominates, and below it how probable each context was.

    Args:
        image: what the network saw, an RGB image.
        nominated: per block (rows, columns) context indices.
        probabilities: per block (rows, columns, 3), the softmax of the scores.
        title: written over the picture.
    """
    shown = image.resize(_visible_size(image.size), Image.Resampling.NEAREST)
    figure = Figure(figsize=(2.8 * (len(nominated) + 1), 8), layout="constrained")
    axes = figure.subplots(2, len(nominated) + 1, squeeze=False)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
    axes[0, 0].imshow(shown)
    axes[0, 0].set_title("image", fontsize=10)
    axes[1, 0].axis("off")
    axes[1, 0].text(0, 0.5, _READING, fontsize=9, va="center", wrap=True, transform=axes[1, 0].transAxes)
    for (above, below), name in zip(axes[:, 1:].T, nominated, strict=True):
        rows, columns = nominated[name].shape
        one_hot = torch.nn.functional.one_hot(nominated[name].long(), len(CONTEXTS))
        above.set_title(f"{name}\n{rows} x {columns} tokens", fontsize=10)
        _show_weights(above, shown, one_hot, "nominated")
        _show_weights(below, shown, probabilities[name], "probability")
    handles = [Patch(color=CONTEXT_COLOURS[name], label=name, alpha=_OPACITY) for name in CONTEXTS]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, title="context")
    figure.suptitle(title, fontsize=11)
    return figure


def _show_weights(axes: Axes, image: Image.Image, weights: Tensor, what: str) -> None:
    axes.imshow(overlay(image, weights))
    means = weights.double().mean((0, 1)).tolist()
    axes.set_xlabel(
        "\n".join(f"{mean:.0%} {context}" for context, mean in zip(CONTEXTS, means, strict=True)), fontsize=9
    )
    axes.set_ylabel(what, fontsize=9)


def _visible_size(size: tuple[int, int], side: int = 256) -> tuple[int, int]:
    factor = max(1, -(-side // max(size)))
    return size[0] * factor, size[1] * factor
