"""CSV and TSV files of images and their classes: which column is what, and the rows.

**Which column is what** (CSV, TSV): where the first row has a cell that is one of `PATH_NAMES` or
`LABEL_NAMES`, in whatever case, it is a header and the columns are found by these names, and the
split's by `SPLIT_NAMES`. Otherwise there is no header, and the columns are path, label and, if
there are three, split. In a text file the label is what follows the last tab, or else the last
space.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from nommer.data.formats import metadata
from nommer.data.formats.labelled import shorten
from nommer.data.formats.listed import decode_text
from nommer.data.formats.multi_label import PLURAL_NAMES, TableRow, Tagging, find_tagging
from nommer.data.formats.source import Source
from nommer.errors import InputError

TABLES = (".csv", ".tsv")
"""Endings of tables, in lower case."""


def is_table(file: Path) -> bool:
    """Return True for a table, by its name; of rows of JSON only those that are metadata."""
    return file.suffix.lower() in TABLES or file.name in metadata.NAMES


PATH_NAMES = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "img",
    "img_path",
)
LABEL_NAMES = ("label", "class", "class_name", "classname", "category", "target")
SPLIT_NAMES = ("split", "subset", "set", "partition")
READ_NAMES = (*PATH_NAMES, *LABEL_NAMES, *PLURAL_NAMES, *SPLIT_NAMES)
"""All names of columns that are known."""

_RUNS = ("encodedpixels", "rle", "rle_mask", "encoding", "segmentation", "annotation")
_RUN = re.compile(r"\d+ \d+( \d+ \d+)*")
"""Columns and cells of run lengths."""

Row = tuple[str, str, str, str | None, tuple[str, ...] | None]
"""The place of the row, path, label, split where the table tells one, and all labels where there
may be several.
"""


@dataclass(frozen=True)
class Table:
    """A CSV or TSV file that is understood."""

    listed: list[TableRow]
    """All but the header."""
    columns: Mapping[str, int]
    tagging: Tagging | None
    may_lack: frozenset[str]
    """Columns whose cells may be empty."""

    def rows(self) -> Iterator[Row]:
        """Yield what every row says.

        Raises:
            InputError: a row that lacks something.
        """
        columns, tagging = self.columns, self.tagging
        for where, cells in self.listed:
            lacking = [
                name
                for name, column in columns.items()
                if not cells[column] and name not in self.may_lack
            ]
            if lacking:
                raise InputError(
                    f"{where}: its {lacking[0]} is empty; fill it in or remove the row"
                )
            label, split = (
                cells[columns[name]] if name in columns else None for name in ("label", "split")
            )
            yield (
                where,
                cells[columns["path"]],
                label or "",
                split,
                None if tagging is None else tagging.read(cells),
            )


def read_table(source: Source, file: Path) -> Table:
    """Return a table as it is understood, for `Source.once`.

    Raises:
        InputError: it is not understood.
    """
    if file.suffix.lower() in TABLES:
        rows = list(_cell_rows(file, decode_text(file, source.content(file))))
    else:
        rows = list(_json_rows(file, source.once(metadata.metadata_rows, file)))
    if not rows:
        return Table([], {}, None, frozenset())
    first = rows[0][1]
    _check_run_lengths(file, first, rows[1:])
    header = first if _is_header(first) else None
    columns, listed = _columns(file, first), rows[1:] if header else rows
    tagging = find_tagging(file, header, listed, columns)
    if tagging is None and "label" not in columns:
        known = ", ".join(LABEL_NAMES)
        raise InputError(
            f"{file}: no column for the label; found {shorten(first)}; expected one called {known}"
        )
    plural = (
        header is not None
        and "label" in columns
        and header[columns["label"]].lower() in PLURAL_NAMES
    )
    return Table(listed, columns, tagging, frozenset(["label"] if plural else []))


def _check_run_lengths(file: Path, header: Sequence[str], rows: Sequence[TableRow]) -> None:
    """Refuse a table of masks as Kaggle has them."""
    for column, name in enumerate(header):
        if name.lower() in _RUNS and any(_RUN.fullmatch(cells[column]) for _, cells in rows):
            raise InputError(
                f"{file}: its column {name} holds run lengths of masks, as Kaggle has them, which "
                "are not read: write masks as PNG, or convert to COCO"
            )


def _json_rows(file: Path, rows: Sequence[metadata.Row]) -> Iterator[TableRow]:
    """Rows of JSON as those of a table, with a header; lists are written as JSON."""
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    yield f"{file} line 1", names
    for where, row in rows:
        cells = [row.get(name) for name in names]
        yield where, [_as_cell(value).strip() for value in cells]


def _as_cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _cell_rows(file: Path, text: str) -> Iterator[TableRow]:
    """Every row that is not empty.

    Raises:
        InputError: one of another width than the first, or what is no table.
    """
    rows = csv.reader(StringIO(text, newline=""), delimiter=delimiter_of(file, text), strict=True)
    width = 0
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            where = f"{file} line {rows.line_num}"
            if width and len(cells) != width:
                raise InputError(
                    f"{where}: found {len(cells)} columns; expected {width}, as in the first row"
                )
            width = len(cells)
            yield where, cells
    except csv.Error as error:
        raise InputError(
            f"{file} line {rows.line_num}: cannot be read as a table: {error}"
        ) from error


def delimiter_of(file: Path, text: str) -> str:
    """Return the tab for a TSV; for a CSV the comma, semicolon or tab of its first line."""
    if file.suffix.lower() == ".tsv":
        return "\t"
    first = next((line for line in text.splitlines() if line.strip()), "")
    return next((sign for sign in ",;\t" if sign in first), ",")


def _is_header(cells: Sequence[str]) -> bool:
    return any(cell.lower() in (*PATH_NAMES, *LABEL_NAMES, *PLURAL_NAMES) for cell in cells)


def _columns(file: Path, first: Sequence[str]) -> dict[str, int]:
    """Return the columns of path, label and maybe split, by the first row.

    Raises:
        InputError: a header without one of them or with two, or too few or many columns without a
            header.
    """
    if not _is_header(first):
        if len(first) not in (2, 3):
            raise InputError(
                f"{file}: the first row has {len(first)} columns and is no header; expected path "
                "and label, maybe "
                f"split, or a header with {PATH_NAMES[0]} and {LABEL_NAMES[0]}"
            )
        return dict(zip(("path", "label", "split"), range(len(first)), strict=False))
    names = [cell.lower() for cell in first]
    found: dict[str, int] = {}
    for what, known in (
        ("path", PATH_NAMES),
        ("label", (*LABEL_NAMES, *PLURAL_NAMES)),
        ("split", SPLIT_NAMES),
    ):
        fitting = [column for column, name in enumerate(names) if name in known]
        if len(fitting) > 1:
            both = " and ".join(first[column] for column in fitting)
            raise InputError(
                f"{file}: the columns {both} may both be the {what}; rename or remove one"
            )
        if fitting:
            found[what] = fitting[0]
        elif what == "path":
            raise InputError(
                f"{file}: no column for the {what}; found {shorten(first)}; expected one called "
                f"{', '.join(known)}"
            )
    return found
