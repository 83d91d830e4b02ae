"""Pictures of what tokens see in every block, and of the pixels that can influence them."""

from collections.abc import Callable, Sequence
from functools import partial

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from nommer.nominations.attention_maps import ATTENTION, TokenView
from nommer.nominations.render import CONTEXT_COLOURS, visible
from nommer.nominations.tokens import Frame, TokenExplanation, on_image, tokens_with_half

KIND_COLOURS = {**CONTEXT_COLOURS, ATTENTION: "#009E73"}
"""The contexts' colours, and one more of the Okabe-Ito palette for the attention of stages 3-4."""

_COLUMNS = 5
_SIDE = 2.5
"""Width of a panel, in inches."""

_DARK = (0, 0, 0, 0.5)
"""Veil over what a token does not see."""

_READING = (
    "Dark: what the token (ring; square) does not see. Coloured: what it sees, stronger with more "
    "weight.\nIn stages 1-2 a token sees by the context that it nominates; a convolution's weights "
    "differ from channel to channel,\nso its field has one colour. Small fields are shown enlarged."
)

Draw = Callable[[Axes], None]


def token_figure(
    image: Image.Image,
    tokens: Sequence[TokenExplanation],
    class_token: Sequence[TokenView],
    *,
    title: str,
    contexts: Sequence[str] = tuple(CONTEXT_COLOURS),
) -> Figure:
    """Draw what every token sees in each block, its receptive field, and the class token's view.

    Args:
        image: what the network saw, an RGB image of any size.
        tokens: at least one, all of this image.
        class_token: what it sees in the blocks of stage 4.
        title: written over the picture.
        contexts: that the network has.

    Raises:
        ValueError: no token.
    """
    if not tokens:
        raise ValueError("no token was asked for, so there is nothing to show")
    frame, shown = tokens[0].frame, visible(image)
    parts = [
        (f"token at x {token.pixel[0]}, y {token.pixel[1]}", _panels(shown, token))
        for token in tokens
    ]
    parts.append(
        ("class token", [partial(_draw_view, shown, view, frame, None) for view in class_token])
    )
    height = _SIDE * min(2.0, max(0.4, image.height / image.width)) + 0.75
    heights = [0.35 + height * -(-len(panels) // _COLUMNS) for _, panels in parts]
    figure = Figure(figsize=(_SIDE * _COLUMNS, sum(heights) + 1.2), layout="constrained")
    subfigures = figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False)
    for part, (name, panels) in zip(subfigures.flat, parts, strict=True):
        _draw_part(part, name, panels)
    handles = [Patch(color=KIND_COLOURS[kind], label=kind) for kind in (*contexts, ATTENTION)]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=4,
        title=_READING,
        fontsize=9,
        title_fontsize=8,
    )
    figure.suptitle(title, fontsize=11)
    return figure


def _draw_part(part: SubFigure, name: str, panels: Sequence[Draw]) -> None:
    part.suptitle(name, fontsize=10, x=0.01, ha="left", weight="bold")
    axes = part.subplots(-(-len(panels) // _COLUMNS), _COLUMNS, squeeze=False)
    for panel in axes.flat:
        panel.axis("off")
    for panel, draw in zip(axes.flat, panels, strict=False):
        draw(panel)


def _panels(image: Image.Image, token: TokenExplanation) -> list[Draw]:
    views = [partial(_draw_view, image, view, token.frame, token.place) for view in token.views]
    nominated = sum(view.kind != ATTENTION for view in token.views)
    fields = [partial(_draw_fields, image, token)]
    if token.gradient is not None:
        fields.append(partial(_draw_gradient, image, token))
    return [partial(_draw_image, image, token), *views[:nominated], *fields, *views[nominated:]]


def _begin(axes: Axes, image: Image.Image, frame: Frame, *, grey: bool = True) -> None:
    """The image, in the pixels of the network's input."""
    height, width = frame.size
    axes.axis("on")
    axes.set(xticks=[], yticks=[])
    shown = image.convert("L").convert("RGB") if grey else image
    axes.imshow(shown, extent=(0, width, height, 0))


def _draw_image(image: Image.Image, token: TokenExplanation, axes: Axes) -> None:
    _begin(axes, image, token.frame, grey=False)
    axes.set_title("image", fontsize=9)
    _mark(axes, token.place)


def _draw_view(
    image: Image.Image, view: TokenView, frame: Frame, place: tuple[int, int] | None, axes: Axes
) -> None:
    """Draw one block: what is seen has the colour of the kind, as strong as its weight."""
    _begin(axes, image, frame)
    support, weights = on_image(view, frame.size)
    strength = (
        torch.full(support.shape, 0.65) if weights is None else 0.1 + 0.75 * weights / weights.max()
    )
    rgba = np.zeros((*support.shape, 4))
    rgba[..., :3] = to_rgb(KIND_COLOURS[view.kind])
    rgba[..., 3] = strength.numpy()
    rgba[~support.numpy()] = _DARK
    _lay_over(axes, rgba, view.stride, frame)
    kind = "" if view.kind == ATTENTION else f": {view.kind}"
    part = "" if view.share == 1 else f" ({view.share:.0%} of it)"
    axes.set_title(f"{view.block}{kind}{part}", fontsize=9)
    axes.set_xlabel("\n".join(_describe(view, frame)), fontsize=8)
    if place is not None:
        row, column = (side // view.stride * view.stride for side in place)
        axes.add_patch(
            Rectangle(
                (column, row), view.stride, view.stride, fill=False, edgecolor="white", linewidth=1
            )
        )
        _mark(axes, place)
    _zoom(axes, support.numpy(), view.stride, frame)


def _describe(view: TokenView, frame: Frame) -> list[str]:
    """Describe a panel: how much is seen, and how evenly."""
    support, weights = on_image(view, frame.size)
    if weights is None:
        rows, columns = (int(support.any(axis).sum()) for axis in (1, 0))
        return [
            f"{rows} x {columns} tokens,",
            f"{rows * view.stride} x {columns * view.stride} pixels",
        ]
    lines = [f"half of it in {tokens_with_half(weights)} of {int(support.sum())} tokens"]
    padding = 1 - view.class_weight - weights.sum().item()
    elsewhere = [f"{view.class_weight:.0%} to the class token"] if view.class_weight else []
    elsewhere += [f"{padding:.0%} to padding"] if padding > 0.005 else []
    return [*lines, ", ".join([f"most: {weights.max():.1%}", *elsewhere])]


def _draw_fields(image: Image.Image, token: TokenExplanation, axes: Axes) -> None:
    """From which block on a pixel can influence the token."""
    _begin(axes, image, token.frame)
    colours = mpl.colormaps["viridis"](np.linspace(0, 1, len(token.fields)))
    rgba = np.zeros((*token.frame.size, 4))
    rgba[...] = _DARK
    for colour, field in reversed(list(zip(colours, token.fields.values(), strict=True))):
        rgba[field.numpy()] = (*colour[:3], 0.6)
    _lay_over(axes, rgba, 1, token.frame)
    _mark(axes, token.place)
    axes.set_title("pixels that can influence it", fontsize=9)
    shares = [f"{field.float().mean():.1%} after {block}" for block, field in token.fields.items()]
    handles = [
        Patch(color=colour, label=share) for colour, share in zip(colours, shares, strict=True)
    ]
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.01), fontsize=7, frameon=False
    )


def _draw_gradient(image: Image.Image, token: TokenExplanation, axes: Axes) -> None:
    """Draw how strongly each pixel influences the token."""
    _begin(axes, image, token.frame)
    assert token.gradient is not None  # noqa: S101 - drawn only where there is one
    strength = (token.gradient / token.gradient.max().clamp_min(1e-30)).sqrt().numpy()
    rgba = mpl.colormaps["magma"](strength)
    rgba[..., 3] = 0.85
    _lay_over(axes, rgba, 1, token.frame)
    _mark(axes, token.place)
    axes.set_title("how strongly (gradient)", fontsize=9)
    axes.set_xlabel("after the last nominator block;\nbright: strongly (square root)", fontsize=8)


def _lay_over(axes: Axes, rgba: np.ndarray, stride: int, frame: Frame) -> None:
    rows, columns = rgba.shape[:2]
    axes.imshow(rgba, extent=(0, columns * stride, rows * stride, 0), interpolation="nearest")
    axes.set(xlim=(0, frame.size[1]), ylim=(frame.size[0], 0))


def _mark(axes: Axes, place: tuple[int, int]) -> None:
    """A ring around the token, of the same size in small and large images."""
    for colour, width in (("black", 3.0), ("white", 1.3)):
        axes.scatter(
            [place[1] + 0.5],
            [place[0] + 0.5],
            s=70,
            facecolors="none",
            edgecolors=colour,
            linewidths=width,
        )


def _zoom(axes: Axes, support: np.ndarray, stride: int, frame: Frame) -> None:
    """Zoom where less than a quarter of the shorter side is seen, with half as much around."""
    spans = [np.flatnonzero(support.any(axis)) for axis in (1, 0)]
    part = 2 * max(len(span) * stride for span in spans) / min(frame.size)
    if 2 * part > 1:
        return
    (top, bottom), (left, right) = (
        _around((span[0] + span[-1] + 1) / 2 * stride, part * whole, whole)
        for span, whole in zip(spans, frame.size, strict=True)
    )
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _around(centre: float, length: float, whole: int) -> tuple[float, float]:
    """`length` around `centre`, moved so as to stay inside `whole`."""
    start = float(min(max(centre - length / 2, 0), whole - length))
    return start, start + length
