"""Pictures of nominations: the image, and over it the context that every token nominates in each block."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from nommer.backbone.contexts import CONTEXTS

CONTEXT_COLOURS = {"convolution": "#0072B2", "window": "#E69F00", "global": "#CC79A7"}
"""From the Okabe-Ito palette, which people with colour-blind eyes can tell apart."""

_OPACITY = 0.6


def overlay(image: Image.Image, nominated: Tensor, *, pixels_per_token: float) -> Image.Image:
    """The image in grey, each token's cell tinted with the colour of the context it nominated.

    Args:
        image: what the network saw, an RGB image.
        nominated: (rows, columns) context indices.
        pixels_per_token: side of a token's cell in pixels of `image`.
    """
    palette = np.array([to_rgb(CONTEXT_COLOURS[name]) for name in CONTEXTS]) * 255
    rows, columns = (np.arange(size) / pixels_per_token for size in (image.height, image.width))
    indices = nominated.numpy().astype(int)
    cells = indices[
        np.minimum(rows.astype(int), len(indices) - 1)[:, None], np.minimum(columns.astype(int), indices.shape[1] - 1)
    ]
    grey = np.asarray(image.convert("L"), dtype=float)[..., None]
    return Image.fromarray(np.round((1 - _OPACITY) * grey + _OPACITY * palette[cells]).astype(np.uint8))


def nomination_figure(
    image: Image.Image, maps: Mapping[str, Tensor], shares: Mapping[str, Mapping[str, float]], *, title: str
) -> Figure:
    """The image beside its map per nominator block, with the shares under each and one legend.

    Args:
        image: what the network saw, an RGB image.
        maps: per block (rows, columns) context indices.
        shares: per block the share of each context.
        title: written over the picture.
    """
    shown = image.resize(_visible_size(image.size), Image.Resampling.NEAREST)
    figure = Figure(figsize=(3 * (len(maps) + 1), 4.4), layout="constrained")
    axes = figure.subplots(1, len(maps) + 1)
    axes[0].imshow(shown)
    axes[0].set_title("image", fontsize=10)
    for panel, (name, nominated) in zip(axes[1:], maps.items(), strict=True):
        size = max(shown.height / nominated.shape[0], shown.width / nominated.shape[1])
        panel.imshow(overlay(shown, nominated, pixels_per_token=size))
        panel.set_title(f"{name}\n{nominated.shape[0]} x {nominated.shape[1]} tokens", fontsize=10)
        panel.set_xlabel("\n".join(f"{share:.0%} {context}" for context, share in shares[name].items()), fontsize=9)
    for panel in axes:
        panel.set(xticks=[], yticks=[])
    handles = [Patch(color=CONTEXT_COLOURS[name], label=name, alpha=_OPACITY) for name in CONTEXTS]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, title="nominated context")
    figure.suptitle(title, fontsize=11)
    return figure


def _visible_size(size: tuple[int, int], side: int = 256) -> tuple[int, int]:
    factor = max(1, -(-side // max(size)))
    return size[0] * factor, size[1] * factor
