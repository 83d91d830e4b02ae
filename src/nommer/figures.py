"""Figures of matplotlib as files and as text, whatever names are written on them."""

import io
import warnings
from pathlib import Path
from typing import IO, Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

from nommer.fonts import lettering_for


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
    for axes in figure.axes:
        _write_ticks(axes.xaxis)
        _write_ticks(axes.yaxis)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar in a file or class name is a dollar
        _give_letters(text)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(target, bbox_inches="tight", **options)


def _write_ticks(axis: Axis) -> None:
    """Make names beside ticks, which are written anew with every drawing, such as can be shown."""
    names = [label.get_text() for label in axis.get_ticklabels()]
    if all(name.replace("\N{MINUS SIGN}", "-").isascii() for name in names):
        return
    readable = [name.encode(errors="backslashreplace").decode() for name in names]
    axis.set_ticks(axis.get_ticklocs(), [lettering_for([name]).shown(name) for name in readable])


def _give_letters(text: Text) -> None:
    """Write a text in a font that has its letters, or with numbers for those that none has."""
    written = text.get_text().encode(errors="backslashreplace").decode()
    if written.isascii():
        text.set_text(written)
        return
    lettering = lettering_for([written])
    text.set_text(lettering.shown(written))
    if lettering.path is not None:
        name = font_manager.FontProperties(fname=lettering.path).get_name()
        text.set_fontfamily([*text.get_fontfamily(), name])
