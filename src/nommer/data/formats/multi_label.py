"""Tables that give an image several classes, or none.

A column of 0 and 1 for each class, or all in one column.

**Which it is** is found by what the table holds. Without a column of labels, two or more columns of
nothing but 0 and 1 are classes. A column of labels holds several where its name says so
(`PLURAL_NAMES`), or where its cells are put together with `;` or `|` from parts that occur in other
cells too; a sign that only ever stands between the same words may belong to the name of one class,
and is refused. Lists as Python and JSON write them are read. Commas and blanks put classes apart
where all parts recur in other cells, in a column whose name says that there are several; where
only some do, they are refused.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nommer.data.formats.labelled import shorten
from nommer.errors import InputError
from nommer.shown import quote

PLURAL_NAMES = ("labels", "classes", "tags", "categories")
"""Names of columns that hold all classes of an image."""

LAYOUTS = """accepted layouts for multi-label classification:
  DATA.csv or DATA.tsv with columns path and labels, such as "cat;dog"   (or cat|dog; maybe split)
  DATA.csv or DATA.tsv with a column path, and one of 0 and 1 per class  (maybe split)"""

_SEPARATORS = (";", "|")
_DOUBTFUL = (",", " ")
"""Signs that may put classes apart, as in Kaggle's tables, or belong to their names."""

_OBJECT = re.compile(r"\s*\[?\s*\{\s*[\"']")
"""The first letters of an object, or a list of such, in JSON."""

_VALUES = {"0": False, "1": True, "0.0": False, "1.0": True}

TableRow = tuple[str, list[str]]
"""The place of a row, and its cells."""


@dataclass(frozen=True)
class Tagging:
    """The way in which a table tells the classes of an image."""

    read: Callable[[Sequence[str]], tuple[str, ...]]
    """From the cells of a row to the names of its classes."""
    names: tuple[str, ...] = ()
    """All classes in the order of their columns; none where these stand in one column."""


def find_tagging(
    file: Path, header: Sequence[str] | None, rows: Sequence[TableRow], columns: Mapping[str, int]
) -> Tagging | None:
    """Return the way in which a table gives several classes; None for one of one class per image.

    Args:
        file: the table, for messages.
        header: its first row, if that names the columns.
        rows: the others.
        columns: where path, label and split stand, as far as they do.

    Raises:
        InputError: what cannot be told, or classes that are not 0 and 1.
    """
    if "label" not in columns:
        return _columns_of_classes(file, header or (), rows, set(columns.values()))
    column = columns["label"]
    plural = header is not None and header[column].lower() in PLURAL_NAMES
    cells = [row[column] for _, row in rows]
    objects = [(where, row[column]) for where, row in rows if _OBJECT.match(row[column])]
    if objects:
        raise InputError(
            f"{objects[0][0]}: {quote(objects[0][1])} is no class, but an object in JSON, as Label "
            "Studio and others write them; export COCO or YOLO there"
        )
    if cells and any(map(_is_list, cells)) and all(_is_list(cell) for cell in cells if cell):
        return Tagging(lambda row: _list_parts(row[column]))
    used = [sign for sign in _SEPARATORS if any(sign in cell for cell in cells)]
    if len(used) > 1:
        raise InputError(
            f"{file}: labels hold both ';' and '|'; put the classes of an image apart with one of "
            "them"
        )
    if used and not plural:
        _check_recombined(file, cells, used[0])
    sign = used[0] if used else _other_sign(file, cells, plural=plural)
    if sign is None:
        return Tagging(lambda row: _parts(row[column], _SEPARATORS[0])) if plural else None
    return Tagging(lambda row: _parts(row[column], sign))


def _is_list(cell: str) -> bool:
    """Tell if a cell is written as a list of Python or JSON."""
    return cell.startswith("[") and cell.endswith("]")


def _list_parts(cell: str) -> tuple[str, ...]:
    """The classes of a cell such as "['cat', 'dog']", with quotes or without."""
    parts = next(csv.reader([cell.strip("[] ")], skipinitialspace=True), [])
    if any(part.strip().startswith("'") for part in parts):
        parts = next(csv.reader([cell.strip("[] ")], quotechar="'", skipinitialspace=True), [])
    return tuple(dict.fromkeys(part.strip(" '\"") for part in parts if part.strip(" '\"")))


def _other_sign(file: Path, cells: Sequence[str], *, plural: bool) -> str | None:
    """The comma or the blank that puts classes apart; None where they belong to names.

    Raises:
        InputError: it may be either.
    """
    for sign in _DOUBTFUL:
        kinds = sorted(set(cells))
        put_together = [cell for cell in kinds if len(_parts(cell, sign)) > 1]
        if not put_together:
            continue
        occurring = Counter(part for cell in kinds for part in _parts(cell, sign))
        parts = {part for cell in put_together for part in _parts(cell, sign)}
        again = {part for part in parts if occurring[part] > 1}
        alone = {part for part in parts if part in kinds}
        if again == parts and (plural or sign == ","):
            return sign
        doubtful = again if plural else alone if alone == parts else set()
        if doubtful or (plural and sign == ","):
            raise InputError(
                f"{file}: {put_together[0]!r} may be one class or several, put apart by {sign!r}; "
                f"put several classes apart by ';' in a column called {PLURAL_NAMES[0]}, or "
                f"write the name of one without {sign!r}, such as with '_'"
            )
    return None


def _parts(cell: str, sign: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in cell.split(sign) if part.strip()))


def _check_recombined(file: Path, cells: Sequence[str], sign: str) -> None:
    """Refuse labels whose parts never occur without each other: `sign` may belong to their names.

    Raises:
        InputError: one of them.
    """
    kinds = sorted(set(cells))
    occurring = Counter(part for cell in kinds for part in _parts(cell, sign))
    put_together = [cell for cell in kinds if sign in cell]
    if not any(occurring[part] > 1 for cell in put_together for part in _parts(cell, sign)):
        raise InputError(
            f"{file}: {quote(put_together[0])} may be one class or several, for its parts occur in "
            "no "
            "other label; call the "
            f"column {PLURAL_NAMES[0]} if it is several, or write it without {quote(sign)} if it "
            "is one"
        )


def _columns_of_classes(
    file: Path, header: Sequence[str], rows: Sequence[TableRow], taken: set[int]
) -> Tagging | None:
    """Columns of 0 and 1; None where there are none.

    Raises:
        InputError: another value beside them, or a name twice.
    """
    candidates = [column for column in range(len(header)) if column not in taken]
    wrong = {column: _first_wrong(rows, column) for column in candidates}
    binary = [column for column in candidates if wrong[column] is None]
    if (
        not rows
        or len(candidates) < 2
        or not (binary or all(_is_signed(rows, column) for column in candidates))
    ):
        return None
    for column in candidates:
        if (found := wrong[column]) is not None:
            where, value = found
            raise InputError(
                f"{where}: column {quote(header[column])} holds {quote(value)}; expected 0 or 1 in "
                "every "
                "column beside path and "
                "split, for each class one, or one column called label"
            )
    names = [header[column] for column in candidates]
    twice = [name for name, count in Counter(names).items() if count > 1 or not name]
    if twice:
        raise InputError(
            f"{file}: the classes {shorten(twice)} have no name of their own; name each column once"
        )
    return Tagging(
        lambda row: tuple(header[column] for column in candidates if _VALUES[row[column]]),
        tuple(names),
    )


def _first_wrong(rows: Sequence[TableRow], column: int) -> tuple[str, str] | None:
    return next(((where, row[column]) for where, row in rows if row[column] not in _VALUES), None)


def _is_signed(rows: Sequence[TableRow], column: int) -> bool:
    """Tell if a column says -1 for no, as CelebA's do."""
    return {row[column] for _, row in rows} <= {"-1", "1"}
