"""Tables of boxes: a row per object, with the image, its class and the corners in pixels.

TensorFlow's object detection tutorials and Roboflow's "TensorFlow CSV" write `filename`, `width`,
`height`, `class`, `xmin`, `ymin`, `xmax`, `ymax`, in `_annotations.csv` beside the images of every
split; keras-retinanet takes rows of path, x1, y1, x2, y2 and class without a header. An image with
empty cells, or that no row names, has no objects.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

from nommer.data.formats.described import DescribedImage, NamedObject, collect_described
from nommer.data.formats.image_files import UNKNOWN_SIZE, ImageFiles
from nommer.data.formats.labelled import Issue, Split, problem, shorten, split_of
from nommer.data.formats.listed import decode_text
from nommer.data.formats.objects import Box, DetectionFolders, to_id, to_number
from nommer.data.formats.source import Source
from nommer.data.formats.table_rows import delimiter_of
from nommer.data.image_paths import direct_files, is_data_file, is_folder, sub_folders
from nommer.errors import InputError
from nommer.shown import quote

LAYOUTS = """\
  DATA/train/_annotations.csv beside its images, or DATA.csv   (TensorFlow: filename, class, xmin,
                                                                ymin, xmax, ymax)"""

_PATHS = ("filename", "file_name", "file", "image", "image_path", "path", "img", "image_name")
_CLASSES = ("class", "label", "class_name", "category", "name", "labelname")
_SPLITS = ("split", "subset", "set")
_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"),
)
_OTHER_BOXES = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
    ("bbox",),
    ("x_center", "y_center", "width", "height"),
)
_MOST_BYTES = 1 << 20
"""Bytes of a table that are looked into for its header."""


@dataclass(frozen=True)
class Columns:
    """The columns of the cells of a row."""

    path: int
    name: int
    corners: tuple[int, int, int, int]
    split: int | None = None
    has_header: bool = True


def find_tables(source: Source) -> dict[Split, Path]:
    """The table that the data are, for "train", or those in it, by split; nothing for others.

    Raises:
        InputError: two tables for one split.
    """
    root = source.root
    if is_data_file(root):
        return {"train": root} if _is_box_table(source, root) else {}
    if not is_folder(root):
        return {}
    splits = {folder: split for folder in sub_folders(root) if (split := split_of(folder.name))}
    found = [
        (split, path) for folder, split in splits.items() for path in _tables_in(source, folder)
    ]
    if not found:
        found = [(_split_in(path), path) for path in _tables_in(source, root)]
    by_split: dict[Split, Path] = {}
    for split, path in found:
        if split in by_split:
            raise InputError(
                f"{root}: both {by_split[split].name} and {path.name} hold boxes of {split} "
                "images; keep one"
            )
        by_split[split] = path
    return by_split


def _split_in(path: Path) -> Split:
    words = path.stem.lower().replace("-", "_").split("_")
    return next((split for word in words if (split := split_of(word))), "train")


def _tables_in(source: Source, folder: Path) -> list[Path]:
    return [path for path in direct_files(folder) if _is_box_table(source, path)]


def _is_box_table(source: Source, path: Path) -> bool:
    """Tell if the first row is one of boxes."""
    if path.suffix.lower() not in (".csv", ".tsv"):
        return False
    try:
        head = source.content(path)[:_MOST_BYTES]
    except OSError:  # a pipe, or one that may not be read
        return False
    row = head.decode("utf-8-sig", errors="replace").lstrip().splitlines()[:1]
    return bool(row) and holds_boxes(_cells(path, row[0]))


def _cells(path: Path, line: str) -> list[str]:
    reader = csv.reader([line], delimiter=delimiter_of(path, line))
    return [cell.strip() for cell in next(reader, [])]


def holds_boxes(first: Sequence[str]) -> bool:
    """Tell if a table's first row has columns of boxes, or is a row of keras-retinanet's."""
    names = {cell.lower() for cell in first}
    known = any(names.issuperset(corners) for corners in (*_CORNERS, *_OTHER_BOXES))
    return (known and bool(names & {*_PATHS, "image_id", "imageid"})) or _is_bare(first)


def _is_bare(row: Sequence[str]) -> bool:
    return len(row) == 6 and all(math.isfinite(to_number(cell)) for cell in row[1:5])


def read_box_table(source: Source) -> DetectionFolders:
    """Read the rows of every table, and the images beside it that no row names.

    Raises:
        InputError: a table that is not understood, or none of whose images is there.
    """
    root = source.root
    folder = root.parent if is_data_file(root) else root
    images, issues = ImageFiles(folder), list[Issue]()
    splits: dict[Split, dict[Path, DescribedImage]] = {}
    for split, file in source.once(find_tables).items():
        _read_table(file, source.once(_rows, file), split, images, splits)
    listed = [path for part in splits.values() for path in part]
    if listed and not any(str(path) in images.used for path in listed):
        raise InputError(
            f"{root}: none of the {len(listed)} images that its rows name is there; first: "
            f"{listed[0]}; paths are taken relative to the table"
        )
    issues += [problem(path, "no row is about it", "left out") for path in images.unused()]
    return collect_described(
        root, {split: tuple(part.values()) for split, part in splits.items()}, issues
    )


def _read_table(
    file: Path,
    rows: list[tuple[int, list[str]]],
    split: Split,
    images: ImageFiles,
    splits: dict[Split, dict[Path, DescribedImage]],
) -> None:
    columns = _columns(file, rows[0][1])
    header = [cell.lower() for cell in rows[0][1]] if columns.has_header else []
    sides: dict[str, int] = {
        name: header.index(name) for name in ("width", "height") if name in header
    }
    for number, cells in rows[1 if columns.has_header else 0 :]:
        where = f"{file} line {number}"
        if len(cells) != len(rows[0][1]):
            raise InputError(
                f"{where}: found {len(cells)} columns; expected {len(rows[0][1])}, as in the first "
                "row"
            )
        own = split if columns.split is None else split_of(cells[columns.split])
        if own is None:
            raise InputError(f"{where}: split {quote(cells[columns.split or 0])} is not known")
        image = _image(file, own, cells[columns.path], images, _size(cells, sides))
        part = splits.setdefault(own, {})
        known = part.setdefault(image.path, image)
        if (item := _object(cells, columns, number)) is not None:
            part[image.path] = replace(known, objects=(*known.objects, item))


def _image(
    file: Path, split: Split, name: str, images: ImageFiles, size: tuple[int, int]
) -> DescribedImage:
    path = images.find(file, split, name)
    if path is None:
        error = f"is named in {file}, but there is no such file"
        return DescribedImage(images.missing(name), file, size, error=error)
    images.check_name(path, name, file)
    return DescribedImage(path, file, size)


def _size(cells: Sequence[str], sides: Mapping[str, int]) -> tuple[int, int]:
    if len(sides) < 2:
        return UNKNOWN_SIZE
    width, height = to_id(cells[sides["width"]]), to_id(cells[sides["height"]])
    return (width, height) if width and height and min(width, height) > 0 else UNKNOWN_SIZE


def _object(cells: Sequence[str], columns: Columns, number: int) -> NamedObject | None:
    """The object of a row; None where all of its cells are empty."""
    corners = [cells[column] for column in columns.corners]
    if not any(corners):
        return None
    left, upper, right, lower = map(to_number, corners)
    box: Box = (left, upper, right, lower)
    return NamedObject(cells[columns.name], box, where=f"line {number}")


def _rows(source: Source, file: Path) -> list[tuple[int, list[str]]]:
    text = decode_text(file, source.content(file))
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter_of(file, text))
    return [
        (reader.line_num, [cell.strip() for cell in row])
        for row in reader
        if any(map(str.strip, row))
    ]


def _columns(file: Path, first: Sequence[str]) -> Columns:
    """Find the columns by the first row.

    Raises:
        InputError: the boxes are written in a way that is not read, or there is no class.
    """
    if _is_bare(first):
        return Columns(0, 5, (1, 2, 3, 4), has_header=False)
    names = [cell.lower() for cell in first]
    found = next((four for four in _CORNERS if set(four) <= set(names)), None)
    path = next((names.index(name) for name in _PATHS if name in names), None)
    label = next((names.index(name) for name in _CLASSES if name in names), None)
    if found is None or path is None or label is None:
        raise InputError(
            f"{file}: this is a table of boxes with the columns {shorten(list(first))}; boxes are "
            f"read from {', '.join(('filename', 'class', *_CORNERS[0]))} in pixels, as TensorFlow "
            "and Roboflow write them: rename or convert the columns, or export COCO"
        )
    left, upper, right, lower = (names.index(name) for name in found)
    split = next((names.index(name) for name in _SPLITS if name in names), None)
    return Columns(path, label, (left, upper, right, lower), split)
