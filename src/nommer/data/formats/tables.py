"""Tables and lists of image files and their classes.

CSV, TSV, and text files with a path and a label on each line.

**Which column is what** (CSV, TSV): where the first row has a cell that is one of `PATH_NAMES` or
`LABEL_NAMES`, in whatever case, it is a header and the columns are found by these names, and the
split's by `SPLIT_NAMES`. Otherwise there is no header, and the columns are path, label and, if
there are three, split. In a text file the label is what follows the last tab, or else the last
space.

Paths are relative to the file that names them, or absolute; they may lead into archives
(`photos.zip/cat/1.jpg`).
"""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from unicodedata import normalize

from nommer.data.archives import read_bytes
from nommer.data.formats.folders import ClassFolders
from nommer.data.formats.labelled import SPLIT_FOLDERS, Issue, Split, shorten, split_of
from nommer.data.formats.listed import NAME_FILES, Entry, collect, read_text
from nommer.data.formats.multi_label import PLURAL_NAMES, TableRow, Tagging, find_tagging
from nommer.data.formats.spelling import spelled
from nommer.data.image_paths import direct_files, sub_folders
from nommer.errors import InputError
from nommer.files import exists
from nommer.shown import quote

LAYOUTS = f"""\
  DATA.csv or DATA.tsv with columns path and label, maybe split     (relative to the table)
  DATA/train.txt and DATA/val.txt with "path label" on each line    (or .csv, .tsv; maybe
                                                                     {NAME_FILES[0]} with names)"""

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

_TABLES = (".csv", ".tsv")
_ENDINGS = (*_TABLES, ".txt")


def find_tables(root: Path) -> dict[Split, Path]:
    """The table that `root` is, for "train", or the lists of labelled images in it, by split.

    Nothing for other data.

    In a folder whose split folders hold class folders these say what is what, and lists are passed
    over.
    """
    if root.is_file():
        return {"train": root} if root.suffix.lower() in _ENDINGS else {}
    if not root.is_dir() or any(
        sub_folders(child) for child in sub_folders(root) if split_of(child.name)
    ):
        return {}
    found: dict[Split, Path] = {}
    for split, path in _lists(root):
        if not _has_labels(path):
            continue
        if split in found:
            raise InputError(
                f"{root}: both {found[split].name} and {path.name} list {split} images; keep one"
            )
        found[split] = path
    return found


def read_tables(root: Path, class_names: tuple[str, ...] | None = None) -> ClassFolders:
    """Read the images and classes that a table, or a list for each split, names.

    Args:
        root: the table, or the folder of the lists.
        class_names: the classes of a model to judge, in its order.

    Raises:
        InputError: a table that is not understood, none of whose files is there, or that
            contradicts itself.
    """
    entries = [
        entry for split, file in find_tables(root).items() for entry in _entries(file, split)
    ]
    if entries and not any(_exists(entry.path) for entry in entries):
        first = entries[0]
        raise InputError(
            f"{root}: none of the {len(entries)} images listed is there; first: {first.path} "
            f"({first.where}); paths "
            "are taken relative to the file that names them"
        )
    kinds = {entry.labels is None for entry in entries}
    if len(kinds) > 1:
        raise InputError(
            f"{root}: one of its lists gives images one class each, another several; write both "
            "alike"
        )
    in_order = class_names or (_named_in_columns(root) if kinds == {False} else None)
    data = collect(root, entries, class_names=in_order, issues=_unlabelled(root))
    return replace(data, several=kinds == {False})


def gives_several(root: Path) -> bool:
    """Tell if the table, or the lists, at `root` may give an image several classes.

    Raises:
        InputError: a table that is not understood.
    """
    tables = (file for file in find_tables(root).values() if file.suffix.lower() in _TABLES)
    return any(_read_table(file).tagging is not None for file in tables)


def _named_in_columns(root: Path) -> tuple[str, ...] | None:
    """The classes in the order of their columns, the same in every table.

    None where they stand in one column.

    Raises:
        InputError: tables with other columns.
    """
    found = {
        file: _read_table(file).tagging
        for file in find_tables(root).values()
        if file.suffix.lower() in _TABLES
    }
    names = {
        file: tagging.names
        for file, tagging in found.items()
        if tagging is not None and tagging.names
    }
    for file, other in names.items():
        first, expected = next(iter(names.items()))
        if other != expected:
            raise InputError(
                f"{file}: its classes are {shorten(other)}; expected {shorten(expected)}, as in "
                f"{first}"
            )
    return next(iter(names.values()), None)


def _lists(folder: Path) -> list[tuple[Split, Path]]:
    """Every file in a folder that is called like the list of a split."""
    files = (path for path in direct_files(folder) if path.suffix.lower() in _ENDINGS)
    return [(split, path) for path in files if (split := split_of(path.stem))]


def _unlabelled(root: Path) -> list[Issue]:
    """Lists of splits of which no list has labels; only those of "test" may be so.

    Raises:
        InputError: one of "train" or "val".
    """
    found = find_tables(root)
    lacking = (
        []
        if root.is_file()
        else [(split, path) for split, path in _lists(root) if split not in found]
    )
    for split, path in lacking:
        if split != "test":
            raise InputError(
                f"{path}: its first line has no label; expected a path and a label on each line"
            )
    return [Issue(str(path), "images without a class", "left out") for _, path in lacking]


def _exists(path: Path) -> bool:
    if exists(path):
        return True
    try:
        return bool(read_bytes(path))
    except OSError:
        return False


def _has_labels(file: Path) -> bool:
    """Tell if the first line that is not empty has a second column; lists of names have none."""
    with file.open("rb") as stream:
        for line in stream:
            if line.strip():
                text = line.decode("utf-8", errors="replace")
                return len(text.replace(",", " ").replace(";", " ").split()) > 1
    return False


def _entries(file: Path, split: Split) -> Iterator[Entry]:
    rows = _table_rows(file) if file.suffix.lower() in _TABLES else _list_rows(file)
    for where, path, label, own, labels in rows:
        chosen = split if own is None else split_of(own)
        if chosen is None:
            known = ", ".join(name for names in SPLIT_FOLDERS.values() for name in names)
            raise InputError(f"{where}: split {own!r} is not known; expected one of {known}")
        # "a/../b" and "b" are one image
        whole = os.path.normpath(file.parent / path.replace("\\", "/"))
        names = None if labels is None else tuple(normalize("NFC", name) for name in labels)
        yield Entry(
            where,
            spelled(Path(whole)),
            normalize("NFC", label) if names is None else ";".join(sorted(names)),
            chosen,
            labels=names,
        )


Row = tuple[str, str, str, str | None, tuple[str, ...] | None]
"""Where it stands, path, label, split where the table tells one, and all labels where there may be
several.
"""


def _list_rows(file: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        text = line.strip()
        if not text:
            continue
        path, label = (text.rsplit("\t", 1) if "\t" in text else [*text.rsplit(None, 1), ""])[:2]
        if not label.strip():
            raise InputError(
                f"{file} line {number}: found {quote(text)}; expected a path, a space or tab, and "
                "a "
                "label"
            )
        yield f"{file} line {number}", path.strip(), label.strip(), None, None


@dataclass(frozen=True)
class _Table:
    """A CSV or TSV file that is understood."""

    rows: list[TableRow]
    columns: Mapping[str, int]
    tagging: Tagging | None
    may_lack: frozenset[str]
    """Columns whose cells may be empty."""


def _read_table(file: Path) -> _Table:
    rows = list(_cell_rows(file))
    if not rows:
        return _Table([], {}, None, frozenset())
    first = rows[0][1]
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
    return _Table(listed, columns, tagging, frozenset(["label"] if plural else []))


def _cell_rows(file: Path) -> Iterator[TableRow]:
    """Every row that is not empty.

    Raises:
        InputError: one of another width than the first, or what is no table.
    """
    text = read_text(file)
    rows = csv.reader(StringIO(text, newline=""), delimiter=_delimiter(file, text), strict=True)
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


def _table_rows(file: Path) -> Iterator[Row]:
    table = _read_table(file)
    columns, tagging = table.columns, table.tagging
    for where, cells in table.rows:
        lacking = [
            name
            for name, column in columns.items()
            if not cells[column] and name not in table.may_lack
        ]
        if lacking:
            raise InputError(f"{where}: its {lacking[0]} is empty; fill it in or remove the row")
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


def _delimiter(file: Path, text: str) -> str:
    """Return the tab for a TSV; for a CSV the comma, semicolon or tab of its first line."""
    if file.suffix.lower() == ".tsv":
        return "\t"
    first = next((line for line in text.splitlines() if line.strip()), "")
    return next((sign for sign in ",;\t" if sign in first), ",")


def _is_header(cells: Sequence[str]) -> bool:
    return any(cell.lower() in (*PATH_NAMES, *LABEL_NAMES, *PLURAL_NAMES) for cell in cells)


def _columns(file: Path, first: Sequence[str]) -> dict[str, int]:
    """Where path, label and maybe split stand, by the first row.

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
