"""Hugging Face's image folders: images, and what `metadata.csv` or `metadata.jsonl` says of each.

A row has the image's `file_name`, relative to the file, and either labels, which are read as those
of any other table (`tables.py`), or `objects`: lists of `bbox` (left, upper, width and height in
pixels) and `categories` of the same length. The files lie in the folders of the splits, or in the
data folder, where a `file_name` begins with its split. Columns that are neither are told.

The layout: https://huggingface.co/docs/datasets/image_dataset
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from nommer.data.formats.coco_checks import check_boxes
from nommer.data.formats.described import DescribedImage, NamedObject, collect_described
from nommer.data.formats.image_files import UNKNOWN_SIZE, ImageFiles, upright_sizes
from nommer.data.formats.labelled import Issue, Split, problem, shorten, split_of
from nommer.data.formats.listed import decode_text
from nommer.data.formats.objects import DetectionFolders, to_number
from nommer.data.formats.source import Source
from nommer.data.image_paths import is_data_file, is_folder, sub_folders
from nommer.data.parsing import parse_json
from nommer.errors import InputError
from nommer.shown import quote

LAYOUTS = """\
  DATA/train/metadata.jsonl (or .csv) beside its images        (Hugging Face: file_name, objects
                                                                with bbox and categories)"""

NAMES = ("metadata.csv", "metadata.jsonl")
FILE_NAME, OBJECTS = "file_name", "objects"
_CATEGORIES = ("categories", "category", "labels", "label", "class", "classes")
Row = tuple[str, Mapping[str, Any]]
"""The place of a row, and its values by column."""


def find_metadata(source: Source) -> list[tuple[Split, Path]]:
    """Return the files of the splits; else those of the data folder, as "train"."""
    root = source.root
    if is_data_file(root) or not is_folder(root):
        return []
    places = [(split, child) for child in sub_folders(root) if (split := split_of(child.name))]
    found = [(split, place / name) for split, place in places for name in NAMES]
    there = [(split, path) for split, path in found if is_data_file(path)]
    return there or [("train", root / name) for name in NAMES if is_data_file(root / name)]


def split_by_folder(path: Path, name: str, split: Split) -> Split:
    """Return the split that a file's name begins with, where the metadata lie above the splits."""
    above = path.name in NAMES and split_of(path.parent.name) is None
    return (split_of(name.replace("\\", "/").partition("/")[0]) if above else None) or split


def metadata_rows(source: Source, file: Path) -> list[Row]:
    """Return the rows of a file of metadata, for `Source.once`.

    Raises:
        InputError: a line that is no object in JSON.
    """
    text = decode_text(file, source.content(file))
    if file.suffix.lower() == ".csv":
        reader = csv.DictReader(StringIO(text, newline=""))
        return [(f"{file} line {reader.line_num}", row) for row in reader]
    return [
        (f"{file} line {number}", _object_in(f"{file} line {number}", line))
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]


def _object_in(where: str, line: str) -> Mapping[str, Any]:
    try:
        value = parse_json(line)
    except ValueError as error:
        raise InputError(f"{where}: cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: is {quote(line[:60])}; expected an object with {FILE_NAME}")
    return value


def find_objects(source: Source) -> list[tuple[Split, Path]]:
    """Return the files whose rows have objects; nothing for other data."""
    return [
        (split, file)
        for split, file in source.once(find_metadata)
        if any(OBJECTS in row for _, row in source.once(metadata_rows, file)[:1])
    ]


def read_objects(source: Source) -> DetectionFolders:
    """Read the objects of every row, and list images that no row is about.

    The classes are the categories that occur, sorted; their ids count from 1.

    Raises:
        InputError: a row without a file name, or whose objects are no boxes with categories.
    """
    root, images, issues = source.root, ImageFiles(source.root), list[Issue]()
    splits: dict[Split, list[DescribedImage]] = {}
    for split, file in source.once(find_objects):
        rows = source.once(metadata_rows, file)
        issues += unread_columns(file, rows, (FILE_NAME, OBJECTS))
        for where, row in rows:
            name = _name_in(where, row)
            own = split_by_folder(file, name, split)
            splits.setdefault(own, []).append(_described(file, where, row, images, own))
    issues += [problem(path, "no row is about it", "left out") for path in images.unused()]
    described = [image for part in splits.values() for image in part]
    return collect_described(root, splits, [*issues, *_oddly_written(root, described)])


def unread_columns(file: Path, rows: Sequence[Row], known: Sequence[str]) -> list[Issue]:
    """Return that there are columns of metadata which nothing is learned from."""
    others = list(dict.fromkeys(name for _, row in rows for name in row if name not in known))
    return [Issue(str(file), f"the columns {shorten(others)}", "not read")] if others else []


def not_read(file: Path) -> Issue:
    """Return that metadata tell no classes, where folders do."""
    return Issue(str(file), "has no column of labels", "not read; folders tell the classes")


def _name_in(where: str, row: Mapping[str, Any]) -> str:
    name = row.get(FILE_NAME)
    if not isinstance(name, str) or not name:
        raise InputError(
            f"{where}: has no {FILE_NAME}, but {shorten(list(map(str, row)))}; each row names its "
            "image there"
        )
    return name


def _described(
    file: Path, where: str, row: Mapping[str, Any], images: ImageFiles, split: Split
) -> DescribedImage:
    name = _name_in(where, row)
    path, found = images.find(file, split, name), tuple(_objects(where, row.get(OBJECTS)))
    if path is None:
        error = f"is named in {file}, but there is no such file"
        return DescribedImage(images.missing(name), file, objects=found, error=error)
    images.check_name(path, name, file)
    return DescribedImage(path, file, objects=found)


def _objects(where: str, value: Any) -> Iterator[NamedObject]:
    """Yield the objects of a row: lists of the same length, or a list of objects.

    Raises:
        InputError: they are neither.
    """
    if isinstance(value, str) and value.strip():  # in a CSV
        value = _parsed(where, value)
    if value in (None, "", []):
        return
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        keys = dict.fromkeys(key for one in value for key in one)
        value = {key: [one.get(key) for one in value] for key in keys}
    key = next((key for key in _CATEGORIES if isinstance(value, dict) and key in value), None)
    columns: list[Any] = [value.get("bbox"), value.get(key)] if key is not None else [None]
    if not all(isinstance(column, list) for column in columns) or len(set(map(len, columns))) > 1:
        raise InputError(
            f"{where}: its {OBJECTS} are {quote(str(value)[:80])}; expected lists of the same "
            f"length called bbox and {_CATEGORIES[0]}"
        )
    crowds = value.get("iscrowd") or [0] * len(columns[0])
    for number, (box, category, crowd) in enumerate(zip(*columns, crowds, strict=False), start=1):
        yield _object(f"{where} object {number}", box, category, ignored=bool(crowd))


def _object(where: str, box: Any, category: Any, *, ignored: bool) -> NamedObject:
    if not isinstance(box, list) or len(box) != 4 or not isinstance(category, str | int):
        raise InputError(
            f"{where}: is {quote(str(box)[:60])} of {quote(str(category)[:40])}; expected four "
            "numbers (left, upper, width, height) and a category"
        )
    left, upper, width, height = map(to_number, box)
    return NamedObject(
        str(category), (left, upper, left + width, upper + height), ignored=ignored, where=where
    )


def _parsed(where: str, text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"{where}: its {OBJECTS} cannot be read as JSON: {error}") from error


def _oddly_written(root: Path, images: Sequence[DescribedImage]) -> list[Issue]:
    """Return what all boxes together tell of another way of writing them, as of a COCO file."""
    sizes = upright_sizes([image.path for image in images if not image.error])
    known = [image for image in images if sizes.get(image.path, UNKNOWN_SIZE) != UNKNOWN_SIZE]
    content = {
        "images": [
            {"id": number, "width": sizes[image.path][0], "height": sizes[image.path][1]}
            for number, image in enumerate(known)
        ],
        "annotations": [
            {"image_id": number, "bbox": [left, upper, right - left, lower - upper]}
            for number, image in enumerate(known)
            for left, upper, right, lower in (one.box for one in image.objects if one.box)
        ],
    }
    return check_boxes(root, content)
