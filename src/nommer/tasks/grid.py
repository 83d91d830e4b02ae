"""A grid of samples with their labels, for pages."""

from collections.abc import Sequence
from textwrap import wrap

from matplotlib.figure import Figure
from PIL import Image

_COLUMNS = 4


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
