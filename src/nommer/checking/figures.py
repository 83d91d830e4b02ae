"""Pictures of the page of `nommer check`: bars of classes, grids of samples."""

from collections.abc import Mapping, Sequence
from textwrap import wrap

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

_COLUMNS = 4
_MOST_BARS = 40
"""Up to this many classes have a bar each."""
_COLOURS = {"train": "#4477aa", "val": "#ee6677", "test": "#228833"}


def class_figure(names: Sequence[str], counts: Mapping[str, np.ndarray], unit: str) -> Figure:
    """A bar for each class and split; of many classes, the sorted counts as a line."""
    if len(names) > _MOST_BARS:
        figure = Figure(figsize=(7, 3), layout="constrained")
        axes = figure.subplots()
        for split, values in counts.items():
            axes.plot(np.sort(values)[::-1], label=split, color=_COLOURS[split])
        axes.set(xlabel="classes, the most frequent first", ylabel=unit)
        axes.set_ylim(bottom=0)
    else:
        figure = Figure(
            figsize=(7, 1 + 0.22 * len(names) * max(1, len(counts) * 0.6)), layout="constrained"
        )
        axes = figure.subplots()
        height = 0.8 / len(counts)
        for number, (split, values) in enumerate(counts.items()):
            axes.barh(
                np.arange(len(names)) + number * height,
                values,
                height,
                label=split,
                color=_COLOURS[split],
            )
        axes.set_yticks(
            np.arange(len(names)) + 0.4 - height / 2, [_shortened(name) for name in names]
        )
        axes.invert_yaxis()
        axes.set_xlabel(unit)
    axes.legend()
    return figure


def grid(pictures: Sequence[tuple[Image.Image, str]]) -> Figure:
    """Pictures in rows, each with its text above."""
    rows = -(-len(pictures) // _COLUMNS)
    heights = [image.height / image.width for image, _ in pictures]
    figure = Figure(
        figsize=(7, 7 / _COLUMNS * rows * (min(2, max(heights)) + 0.35)), layout="constrained"
    )
    for axes in (every := figure.subplots(rows, _COLUMNS, squeeze=False).ravel()):
        axes.set_axis_off()
    for axes, (image, text) in zip(every, pictures, strict=False):
        image.thumbnail((400, 400))
        axes.imshow(image, interpolation="nearest" if max(image.size) < 64 else "antialiased")
        axes.set_title("\n".join(_wrapped(text)), fontsize=8)
    return figure


def _wrapped(text: str, width: int = 26, lines: int = 6) -> list[str]:
    plain = text.encode(
        errors="backslashreplace"
    ).decode()  # Matplotlib draws no name that is not UTF-8
    pieces = [piece for line in plain.splitlines() for piece in wrap(line, width)]
    return (
        pieces
        if len(pieces) <= lines
        else [*pieces[: lines - 1], pieces[lines - 1][: width - 3] + "..."]
    )


def _shortened(name: str, most: int = 30) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."
