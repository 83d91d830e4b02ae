"""Figures of matplotlib as files and as text, whatever stands in the names that are written on
them.
"""

import io
import warnings
from pathlib import Path
from typing import IO, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or JPEG, by the name's ending."""
    _save(figure, path, dpi=110)


def figure_as_png(figure: Figure) -> bytes:
    """A figure as PNG, sharp on screens of two dots per pixel."""
    stream = io.BytesIO()
    _save(figure, stream, format="png", dpi=160)
    return stream.getvalue()


def figure_as_svg(figure: Figure) -> bytes:
    """A figure as SVG, its letters as outlines; the same figure gives the same bytes."""
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "nommer", "svg.fonttype": "path"}):
        _save(figure, stream, format="svg", dpi=110, metadata={"Date": None})
    return stream.getvalue()


def _save(figure: Figure, target: Path | IO[bytes], **options: Any) -> None:
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar in a file or class name is a dollar
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(target, bbox_inches="tight", **options)
