"""A report for people: one HTML file that needs no network, no script and no other file.

It reads on a wide screen, on a phone and on paper, in light and in dark, and by a screen reader.
What is said is put together by the verbs; here is only how it looks. The template is `report.html`.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment
from matplotlib.figure import Figure
from PIL import Image

from nommer.figures import figure_as_png, figure_as_svg
from nommer.files import write_text
from nommer.shown import clean

_LARGEST_SVG = 600_000
"""Bytes above which a figure, of many points or with large pictures in it, becomes a PNG."""

_LARGEST_PNG = 400_000
"""Bytes above which a picture becomes a JPEG, if it is smaller so."""

_WIDEST_ON_A_PHONE = 7
"""Inches up to which a figure stays readable at the width of a phone."""

_READABLE = 0.75
"""Part of its own size to which a wider figure is shrunk at most; from there on it scrolls."""

_LARGEST_SIDE = 1600
"""Pixels to which larger pictures are shrunk."""

_SMALLEST_SIDE = 256
"""Pixels of the screen that smaller pictures are enlarged towards, by a whole factor."""


@dataclass(frozen=True)
class _Picture:
    uri: str
    width: int
    """Pixels of the screen, where there are as many."""
    caption: str
    alt: str
    enlarged: bool = False
    """True where its pixels are to be seen as squares."""
    least: int | None = None
    """Pixels of the screen below which it scrolls in its own box; None for one that is shrunk to
    any screen.
    """
    kind: str = "picture"


@dataclass(frozen=True)
class _Cell:
    text: str
    numeric: bool


@dataclass(frozen=True)
class _Table:
    columns: list[_Cell]
    rows: list[list[_Cell]]
    caption: str
    kind: str = "table"


@dataclass(frozen=True)
class _Text:
    text: str
    kind: str = "text"

    @property
    def paragraphs(self) -> list[list[str]]:
        """Paragraphs between blank lines, each divided at backticks: words and code in turn."""
        return [
            paragraph.split("`")
            for paragraph in self.text.strip().split("\n\n")
            if paragraph.strip()
        ]


@dataclass(frozen=True)
class _Section:
    heading: str
    content: list[Any]


class Page:
    """A page that grows from top to bottom.

    Text, figures, pictures, tables and commands, in sections.

    Everything given is text, never HTML; in a text, blank lines divide paragraphs and `backticks`
    mark code.

    Args:
        title: heading of the page, and name of its window.
        summary: what the reader takes home, in a sentence or two under the title.
    """

    def __init__(self, title: str, *, summary: str = "") -> None:
        self._title, self._summary = title, _Text(summary)
        self._opening: list[Any] = []
        self._sections: list[_Section] = []

    def section(self, heading: str, text: str = "") -> None:
        """Begin a section; what follows belongs to it."""
        self._sections.append(_Section(heading, []))
        self.text(text)

    def text(self, text: str) -> None:
        """Add paragraphs."""
        self._add(_Text(text))

    def command(self, text: str) -> None:
        """Add a command, to be copied as it stands."""
        self._add(_Text(text, kind="command"))

    def figure(self, figure: Figure, *, caption: str, alt: str) -> None:
        """Add a figure of matplotlib, as SVG, or as PNG where that would be large.

        A phone shows a figure about 360 pixels wide: one of up to 7 inches stays readable. A wider
        one is shrunk to three quarters of its size, and scrolls in its own box where the screen is
        narrower still.

        Args:
            figure: at its own size, which is shrunk where the screen is smaller.
            caption: what is seen and how to read it.
            alt: the same for somebody who does not see it.

        Raises:
            ValueError: an empty `alt`.
        """
        data, kind = figure_as_svg(figure), "svg+xml"
        if len(data) > _LARGEST_SVG:
            data, kind = figure_as_png(figure), "png"
        width = round(figure.get_figwidth() * 96)
        least = round(width * _READABLE) if figure.get_figwidth() > _WIDEST_ON_A_PHONE else None
        self._add_picture(data, kind, width, caption, alt, least=least)

    def picture(self, image: Image.Image, *, caption: str, alt: str) -> None:
        """Add a picture, at most 1600 pixels a side, as PNG, or as JPEG where that is large.

        Args:
            image: of any size; a small one is shown enlarged, pixel by pixel.
            caption: what is seen and how to read it.
            alt: the same for somebody who does not see it.

        Raises:
            ValueError: an empty `alt`.
        """
        shown = image.convert("RGB")
        shown.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
        data, kind = _encode(shown, "png"), "png"
        if len(data) > _LARGEST_PNG and len(smaller := _encode(shown, "jpeg", quality=90)) < len(
            data
        ):
            data, kind = smaller, "jpeg"
        factor = max(1, _SMALLEST_SIDE // max(shown.size))
        self._add_picture(data, kind, shown.width * factor, caption, alt, enlarged=factor > 1)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str) -> None:
        """Add a table, which scrolls in its own box where it is wider than the screen.

        Args:
            columns: their headings; the first column names the rows.
            rows: as many values each; None is shown as n/a, floats with four digits, all else as
                `str` has it.
            caption: what the numbers are.

        Raises:
            ValueError: a row with more or fewer values than there are columns.
        """
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(
                    f"a row of {len(row)} values in a table of {len(columns)} columns: {row}"
                )
        numeric = [all(_is_number(row[index]) for row in rows) for index in range(len(columns))]
        heads, *body = (
            [
                _Cell(_as_text(value), is_number)
                for value, is_number in zip(row, numeric, strict=True)
            ]
            for row in (columns, *rows)
        )
        self._add(_Table(heads, body, caption))

    def html(self) -> str:
        """The page as it would be saved."""
        template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
            files("nommer").joinpath("report.html").read_text(encoding="utf-8")
        )
        whole = template.render(
            title=self._title,
            summary=self._summary.paragraphs,
            opening=self._opening,
            sections=self._sections,
        )
        return clean(whole) + "\n"

    def save(self, path: Path) -> None:
        """Write the page, or leave the file as it was.

        Raises:
            OSError: the folder is read-only, the disk is full, ...
        """
        write_text(path, self.html())

    def _add(self, part: Any) -> None:
        (self._sections[-1].content if self._sections else self._opening).append(part)

    def _add_picture(
        self,
        data: bytes,
        kind: str,
        width: int,
        caption: str,
        alt: str,
        *,
        enlarged: bool = False,
        least: int | None = None,
    ) -> None:
        if not alt.strip():
            raise ValueError(f"the picture with the caption {caption!r} needs an alt text")
        uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        self._add(_Picture(uri, width, caption, alt, enlarged, least))


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, optimize=True, **options)
    return stream.getvalue()


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _as_text(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
