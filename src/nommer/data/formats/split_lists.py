"""Images that files call those of "val" or "test", at any depth of a place, whatever their labels.

Read are lists of names (`test.txt` in Pascal VOC's `ImageSets`, beside images, or in a folder of
lists; `val.csv`), tables with a column for the split, COCO's JSON with the split in its name, and
YOLO's YAML. Names may be paths, with their ending or without. This is for those who want images
alone: readers of labels find splits themselves, and are stricter.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

import yaml

from nommer.data.formats.coco_files import split_in
from nommer.data.formats.labelled import Split, split_of
from nommer.data.formats.table_rows import PATH_NAMES, SPLIT_NAMES, TABLES
from nommer.data.formats.unread import looks_like_yolo
from nommer.data.formats.yolo_description import KEYS
from nommer.data.image_paths import is_image_name
from nommer.data.parsing import head_of, parse_json, parse_yaml, read_text
from nommer.errors import InputError

HELD_BACK: tuple[Split, ...] = ("test", "val")
"""Splits that are looked for, the stricter first: an image that lists name twice is of that."""

_YAML = (".yaml", ".yml")

Key = tuple[str, ...]
"""Folders and name of a file, below a place."""


Names = Sequence[str | Path]
"""Names of images, or the images."""


class Listed(NamedTuple):
    """The split of an image, and the file that says so."""

    split: Split
    file: Path


def splits_listed(
    place: Path, files: Iterable[Path], images: Mapping[Path, Split]
) -> dict[Path, Listed]:
    """Return the images that a file names as those of "val" or "test".

    Names are looked for in the nearest folder above the file that holds images. Where several
    images there have a name, those are meant whose folder is of that split, or else all.

    Args:
        place: folder or archive.
        files: all files there.
        images: its images, those of test too, and the split that their folders tell.

    Raises:
        InputError: a file that is called as such a list cannot be read.
    """
    found: dict[Path, Listed] = {}
    index = _Index(place, images)
    for file in files:
        for split, names in _lists_in(file, index).items():
            for image in index.named(file, split, names):
                if image not in found or HELD_BACK.index(split) < HELD_BACK.index(
                    found[image].split
                ):
                    found[image] = Listed(split, file)
    return found


class _Index:
    """The images of a place by folder and name; those of a folder are looked through once."""

    def __init__(self, place: Path, images: Mapping[Path, Split]) -> None:
        self.place, self.images = place, images
        self._by_name: dict[Path, dict[str, list[Path]]] = {}

    def named(self, file: Path, split: Split, names: Iterable[str | Path]) -> Iterator[Path]:
        """Yield the images that the names in a file mean."""
        root = self.root_of(file)
        by_name = self._names_below(root)
        for name in names:
            if isinstance(name, Path):
                yield name
                continue
            meant = next(filter(None, (_meant(text, root, by_name) for text in _columns(name))), [])
            here = [path for path in meant if self.images[path] == split]
            yield from here or meant

    def below(self, file: Path, folder: str) -> list[Path]:
        """Return the images in a folder that a file names, by the most of its path that fits."""
        root, parts = self.root_of(file), _parts(folder)
        keys = {path: path.relative_to(root).parts for path in self._below(root)}
        for start in range(len(parts)):
            end = parts[start:]
            if found := [path for path, key in keys.items() if key[: len(end)] == end]:
                return found
        return []

    def root_of(self, file: Path) -> Path:
        """Return the nearest folder above a file, as far as the place, that holds images."""
        for folder in file.parents:
            if folder == self.place or self._names_below(folder):
                return folder
        return self.place

    def _below(self, root: Path) -> list[Path]:
        return [path for path in self.images if path.is_relative_to(root)]

    def _names_below(self, root: Path) -> dict[str, list[Path]]:
        if root not in self._by_name:
            found = defaultdict(list)
            for path in self._below(root):
                for name in {normalize("NFC", path.name), normalize("NFC", path.stem)}:
                    found[name].append(path)
            self._by_name[root] = dict(found)
        return self._by_name[root]


def _meant(text: str, root: Path, by_name: Mapping[str, list[Path]]) -> list[Path]:
    """Return the images that a name may mean, those before others that end as its path does."""
    parts = _parts(text)
    if not parts:
        return []
    last = Path(parts[-1])
    named = by_name.get(last.name) or (by_name.get(last.stem) if is_image_name(last) else None)
    if not named or len(named) == 1:
        return named or []
    folders = parts[:-1]
    alike = [path for path in named if _end_alike(path.relative_to(root).parts[:-1], folders)]
    return alike or named


def _end_alike(one: Key, other: Key) -> bool:
    shorter = min(len(one), len(other))
    return one[len(one) - shorter :] == other[len(other) - shorter :]


def _parts(text: str) -> Key:
    parts = normalize("NFC", text.strip()).replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", ".", ".."))


def _columns(line: str) -> tuple[str, ...]:
    """Return a line, as a name that may hold spaces, and its first column."""
    columns = re.split(r"[\s,;]+", line.strip())
    several = any(is_image_name(Path(column)) for column in columns[:-1])
    return columns[:1] if several else (line, columns[0])  # type: ignore[return-value]


def _lists_in(file: Path, index: _Index) -> dict[Split, Names]:
    """Return the names that a file lists by split; nothing of a file that is no list."""
    ending = file.suffix.lower()
    if ending == ".txt":
        split = split_of(file.stem)
        return {split: _lines(file)} if split in HELD_BACK else {}
    if ending in TABLES:
        return _in_table(file)
    if ending == ".json":
        split = split_in(file.stem)
        return {split: _in_coco(file)} if split in HELD_BACK else {}
    return _in_yaml(file, index) if ending in _YAML else {}


def _lines(file: Path) -> list[str]:
    text = _text(file)
    return [] if looks_like_yolo(text) else [line for line in text.splitlines() if line.strip()]


def _in_table(file: Path) -> dict[Split, Names]:
    """Names in the column of files, by the table's own name or its column for the split."""
    own = split_of(file.stem)
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    first = head_of(file, 4096).partition("\n")[0].rstrip("\r").lower().split(delimiter)
    header = [cell.strip().strip('"') for cell in first]
    path = next((header.index(name) for name in PATH_NAMES if name in header), None)
    column = next((header.index(name) for name in SPLIT_NAMES if name in header), None)
    if own is None and (path is None or column is None):
        return {}
    found: dict[Split, list[str | Path]] = defaultdict(list)
    for row in csv.reader(StringIO(_text(file), newline=""), delimiter=delimiter):
        if len(row) > max(path or 0, column or 0):
            split = own if column is None or path is None else split_of(row[column])
            if split in HELD_BACK:
                found[split].append(row[path or 0])
    return dict(found)


def _in_coco(file: Path) -> list[str]:
    content = _parsed(file, parse_json)
    images = content.get("images") if isinstance(content, dict) else None
    entries = images if isinstance(images, list) else []
    names = [entry.get("file_name") for entry in entries if isinstance(entry, dict)]
    return [name for name in names if isinstance(name, str)]


def _in_yaml(file: Path, index: _Index) -> dict[Split, Names]:
    """Names that lists of YOLO's description name, or the images in its folders.

    A part that "train" names as well is none.
    """
    head = head_of(file, 1 << 16)
    if not all(re.search(rf"^{key}\s*:", head, re.MULTILINE) for key in ("train", "names")):
        return {}
    content = _parsed(file, lambda text: parse_yaml(text, yaml.SafeLoader))
    if not (isinstance(content, dict) and "train" in content and "names" in content):
        return {}
    learned = set(_places(content["train"]))
    found: dict[Split, Names] = {}
    for split in HELD_BACK:
        told = next((content[key] for key in KEYS[split] if content.get(key)), None)
        names: list[str | Path] = []
        for place in _places(told):
            if place in learned:
                continue
            if place.lower().endswith(".txt"):
                names += _lines_of(file, place)
            else:
                names += index.below(file, place)
        found[split] = names
    return found


def _lines_of(file: Path, place: str) -> list[str]:
    lists = (file.parent.joinpath(*_parts(place)[-length:]) for length in (3, 2, 1))
    for path in lists:
        try:
            return [line for line in read_text(path).splitlines() if line.strip()]
        except (OSError, ValueError):
            continue
    raise InputError(f"{file}: names the list {place}, which cannot be read; add it, or correct it")


def _places(told: Any) -> list[str]:
    return [str(one) for one in (told if isinstance(told, list) else [told]) if one]


def _text(file: Path) -> str:
    try:
        return read_text(file, errors="surrogateescape")
    except OSError as error:
        raise InputError(
            f"{file}: is called as a list of a split, and cannot be read: "
            f"{error.strerror or error}; correct it or move it away"
        ) from error


def _parsed(file: Path, parse: Any) -> Any:
    try:
        return parse(_text(file))
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"{file}: is called as a description of a split, and cannot be read: {error}; correct "
            "it or move it away"
        ) from error
