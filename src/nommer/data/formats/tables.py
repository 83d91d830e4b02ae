"""Tables and lists of image files and their classes.

CSV, TSV, and text files with a path and a label on each line.

Paths are relative to the file that names them, or absolute; they may lead into archives
(`photos.zip/cat/1.jpg`).
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from unicodedata import normalize

from nommer.data.archives import read_bytes
from nommer.data.formats.folders import ClassFolders
from nommer.data.formats.labelled import SPLIT_FOLDERS, Issue, Split, problem, shorten, split_of
from nommer.data.formats.listed import NAME_FILES, Entry, collect, decode_text
from nommer.data.formats.metadata import NAMES as METADATA
from nommer.data.formats.metadata import (
    find_metadata,
    find_objects,
    metadata_rows,
    split_by_folder,
    unread_columns,
)
from nommer.data.formats.source import Source
from nommer.data.formats.spelling import spelled
from nommer.data.formats.table_rows import (
    PATH_NAMES,
    READ_NAMES,
    TABLES,
    Row,
    Table,
    is_table,
    read_table,
)
from nommer.data.image_paths import direct_files, is_image_name, sub_folders, visible_files
from nommer.errors import InputError
from nommer.files import exists, is_file
from nommer.shown import quote

LAYOUTS = f"""\
  DATA.csv or DATA.tsv with columns path and label, maybe split     (relative to the table)
  DATA/train.txt and DATA/val.txt with "path label" on each line    (or .csv, .tsv; maybe
                                                                     {NAME_FILES[0]} with names)
  DATA/train/_classes.csv beside the images, and val                (Roboflow, several classes)"""

_BESIDE = "_classes.csv"
"""Roboflow's table of several classes per image, in the folder of a split."""

_ENDINGS = (*TABLES, ".txt")


def find_tables(source: Source) -> dict[Split, Path]:
    """The table that the data are, for "train", or the lists of labelled images in it, by split.

    Nothing for other data.

    In a folder whose split folders hold class folders these say what is what, and lists are passed
    over.
    """
    root = source.root
    if root.is_file():
        return {"train": root} if root.suffix.lower() in _ENDINGS else {}
    if root.is_dir() and (described := _metadata(source)):
        return described
    if not root.is_dir() or any(
        sub_folders(child) for child in sub_folders(root) if split_of(child.name)
    ):
        return {}
    found: dict[Split, Path] = {}
    for split, path in (*_lists(root), *_lists_in_splits(source)):
        if not source.once(_has_labels, path):
            continue
        if split in found:
            raise InputError(
                f"{root}: both {found[split].name} and {path.name} list {split} images; keep one"
            )
        found[split] = path
    return found


def read_tables(source: Source, class_names: tuple[str, ...] | None = None) -> ClassFolders:
    """Read the images and classes that a table, or a list for each split, names.

    Args:
        source: the table, or the folder of the lists.
        class_names: the classes of a model to evaluate, in its order.

    Raises:
        InputError: a table that is not understood, none of whose files is there, or that
            contradicts itself.
    """
    root = source.root
    entries = [
        entry
        for split, file in source.once(find_tables).items()
        for entry in _entries(source, file, split)
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
    in_order = class_names or (_named_in_columns(source) if kinds == {False} else None)
    told = [*_unlabelled(source), *_untold(source, entries)]
    data = collect(root, entries, class_names=in_order, issues=told)
    return replace(data, multi_label=kinds == {False})


def is_multi_label(source: Source) -> bool:
    """Tell if the table, or the lists, of the data may give an image several classes.

    Raises:
        InputError: a table that is not understood.
    """
    return any(table.tagging is not None for table in _tables(source).values())


def _tables(source: Source) -> dict[Path, Table]:
    """The tables among the files that are read; lists are none."""
    files = source.once(find_tables).values()
    return {f: source.once(read_table, f) for f in files if is_table(f)}


def _named_in_columns(source: Source) -> tuple[str, ...] | None:
    """The classes in the order of their columns, the same in every table.

    None where they stand in one column.

    Raises:
        InputError: tables with other columns.
    """
    names = {
        file: table.tagging.names
        for file, table in _tables(source).items()
        if table.tagging is not None and table.tagging.names
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


def _lists_in_splits(source: Source) -> list[tuple[Split, Path]]:
    """Roboflow's `_classes.csv` beside the images of every split."""
    folders = [
        (split, folder) for folder in sub_folders(source.root) if (split := split_of(folder.name))
    ]
    files = [(split, folder / _BESIDE) for split, folder in folders]
    return [(split, file) for split, file in files if is_file(file) and _names_files(source, file)]


def _metadata(source: Source) -> dict[Split, Path]:
    """Hugging Face's metadata that tell classes; those of captions leave that to folders."""
    found = source.once(find_metadata)
    if not found or source.once(find_objects):
        return {}
    for (split, path), (following, other) in pairwise(found):
        if split == following:
            raise InputError(f"{path}: there is a {other.name} of {split} images too; keep one")
    in_classes = any(sub_folders(path.parent) for _, path in found)
    return {} if in_classes and not _tells_classes(source, found[0][1]) else dict(found)


def _tells_classes(source: Source, file: Path) -> bool:
    try:
        return bool(source.once(read_table, file).listed)
    except InputError:
        return False


def _names_files(source: Source, file: Path) -> bool:
    """Tell if the first column is of files, and not of the values in masks."""
    first = source.content(file).decode("utf-8-sig", errors="replace").partition(",")[0]
    return first.strip().lower() in PATH_NAMES


def _unlabelled(source: Source) -> list[Issue]:
    """Lists of splits of which no list has labels; only those of "test" may be so.

    Raises:
        InputError: one of "train" or "val".
    """
    root, found = source.root, source.once(find_tables)
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


def _untold(source: Source, entries: Sequence[Entry]) -> list[Issue]:
    """Columns of metadata that are not read, and images that it is not about."""
    files = [path for path in source.once(find_tables).values() if path.name in METADATA]
    tables = _tables(source)
    issues: list[Issue] = []
    for file in files:
        tagging = tables[file].tagging
        rows = source.once(metadata_rows, file)
        known = (*READ_NAMES, *(tagging.names if tagging else ()))
        issues += unread_columns(file, rows, known)
    listed = {entry.path for entry in entries}
    images = filter(is_image_name, visible_files(source.root)) if files else ()
    issues += [problem(p, "no row is about it", "left out") for p in images if p not in listed]
    return issues


def _exists(path: Path) -> bool:
    if exists(path):
        return True
    try:
        return bool(read_bytes(path))
    except OSError:
        return False


def _has_labels(source: Source, file: Path) -> bool:
    """Tell if the first line that is not empty has a second column; lists of names have none."""
    try:
        content = source.content(file)
    except OSError:  # a pipe, or one that may not be read
        return False
    first = next(filter(None, map(bytes.strip, BytesIO(content))), b"")
    text = first.decode("utf-8", errors="replace")
    return len(text.replace(",", " ").replace(";", " ").split()) > 1


def _entries(source: Source, file: Path, split: Split) -> Iterator[Entry]:
    rows = source.once(read_table, file).rows() if is_table(file) else _list_rows(source, file)
    for where, path, label, own, labels in rows:
        chosen = split_of(own) if own is not None else split_by_folder(file, path, split)
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


def _list_rows(source: Source, file: Path) -> Iterator[Row]:
    for number, line in enumerate(decode_text(file, source.content(file)).splitlines(), start=1):
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
