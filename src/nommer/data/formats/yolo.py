"""Objects in YOLO's text files.

One per image, a line per object, coordinates as shares of the image's sides.
"""

import os
import re
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import yaml

from nommer.data.formats.class_file import UniqueKeys
from nommer.data.formats.image_files import UNKNOWN_SIZE, upright_sizes
from nommer.data.formats.labelled import Issue, Split, no_image, problem, shorten
from nommer.data.formats.objects import (
    DetectionFolders,
    DetectionSample,
    RawObject,
    make_objects,
    to_id,
    to_number,
)
from nommer.data.images import is_image_name, visible_files
from nommer.data.masks import ranges
from nommer.data.parsing import parse_yaml, read_text
from nommer.errors import InputError
from nommer.shown import quote

LAYOUTS = (
    "  DATA/data.yaml with names, train and val; DATA/images/train/*.jpg and "
    "DATA/labels/train/*.txt   (YOLO)"
)

_KEYS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
_ENDINGS = (".yaml", ".yml")


def find_description(root: Path) -> Path | None:
    """The YAML file that tells names and folders, `data.yaml` before others.

    Raises:
        InputError: several, none of which is called so.
    """
    files = sorted(
        path for path in root.iterdir() if path.suffix.lower() in _ENDINGS and path.name[0] != "."
    )
    found = [path for path in files if _describes(path)]
    preferred = [path for path in found if path.stem.lower() == "data"] or found
    if len(preferred) > 1:
        raise InputError(
            f"{root}: {' and '.join(path.name for path in preferred)} all describe YOLO data; keep "
            "one"
        )
    return preferred[0] if preferred else None


def _describes(path: Path) -> bool:
    try:
        content = _load(path)
    except InputError:
        return path.stem.lower() == "data"
    return (
        isinstance(content, dict)
        and "names" in content
        and any(key in content for k in _KEYS.values() for key in k)
    )


def _load(path: Path) -> Any:
    try:
        return parse_yaml(read_text(path), _Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"{path}: cannot be read as YAML: {' '.join(str(error).split())}"
        ) from error


class _Loader(UniqueKeys):
    """Takes for numbers only what people would.

    010 and 1:30, which YAML takes for 8 and 90, stay text.
    """


def _whole_number(_: yaml.SafeLoader, node: yaml.ScalarNode) -> int | str:
    return int(node.value) if re.fullmatch(r"-?(0|[1-9]\d*)", node.value) else str(node.value)


_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def read_yolo(root: Path) -> DetectionFolders:
    """Read the label file of every image that `data.yaml` leads to.

    The class numbers are kept as category ids.

    Raises:
        InputError: a description that is not understood, or images that are not where it says.
    """
    file = find_description(root)
    if file is None:
        raise InputError(
            f"{root}: found no data.yaml with names, train and val; accepted are\n{LAYOUTS}"
        )
    content = _load(file)
    names = _names(file, content)
    reader = _Reader(
        _Places(root, file, content), {number: label for label, number in enumerate(names)}
    )
    splits = {split: samples for split in _KEYS if (samples := reader.samples(split))}
    if not splits:
        raise InputError(
            f"{file}: leads to no images; expected train and val to name folders or lists of images"
        )
    issues = tuple(reader.issues)
    return DetectionFolders(root, tuple(names.values()), splits, issues, category_ids=tuple(names))


def _names(file: Path, content: Any) -> dict[int, str]:
    """Class numbers and names, in the order of the numbers.

    Raises:
        InputError: no or unclear names.
    """
    names = content.get("names") if isinstance(content, dict) else None
    entries = dict(enumerate(names)) if isinstance(names, list) else names
    numbered = (
        {to_id(key): name for key, name in entries.items()} if isinstance(entries, dict) else {}
    )
    if not numbered or any(number is None or number < 0 for number in numbered):
        expected = "a list of class names, or numbers before names as in {0: cat, 1: dog}"
        raise InputError(f"{file}: names must be {expected}, got {quote(names)}")
    odd = [name for name in numbered.values() if not _is_name(name)]
    if odd:
        raise InputError(
            f"{file}: a class is called {quote(odd[0])}; names must be text or whole numbers, so "
            "write "
            "it in quotes"
        )
    named = {
        number: str(numbered[number]) for number in sorted(n for n in numbered if n is not None)
    }
    if len(set(named.values())) < len(named):
        raise InputError(
            f"{file}: two classes have the same name: {shorten(list(named.values()))}; each needs "
            "its own"
        )
    if content.get("nc", len(named)) != len(named):
        raise InputError(
            f"{file}: nc is {content['nc']}, but there are {len(named)} names; correct one of them"
        )
    return named


def _is_name(name: Any) -> bool:
    """Tell if a class may be called so; YAML takes NO for False and an empty place for None."""
    return isinstance(name, int | str) and not isinstance(name, bool) and bool(str(name).strip())


@dataclass
class _Places:
    """Where `data.yaml` says that images are."""

    root: Path
    file: Path
    content: dict[str, Any]

    def images(self, split: Split, issues: list[Issue]) -> list[Path]:
        """The images of a split, each once.

        Without any where a test split is named but absent or empty.

        Raises:
            InputError: a folder or list that is not there, holds no images, or leads out of the
                folder of the data.
        """
        values = [self.content[key] for key in _KEYS[split] if self.content.get(key)][:1]
        found: dict[Path, None] = {}
        for value in values[0] if values and isinstance(values[0], list) else values:
            place = self._resolve(str(value))
            here = (
                []
                if place is None
                else self._listed(place)
                if place.is_file()
                else _images_in(place, issues)
            )
            if here:
                found |= dict.fromkeys(here)
            elif split == "test":
                what = (
                    f"test: {value} is not there"
                    if place is None
                    else f"test: {value} holds no images"
                )
                issues.append(problem(str(self.file), what, "no images are taken from it"))
            else:
                lack = (
                    f"is not below {self.root}"
                    if place is None
                    else "holds no images of a kind that is read"
                )
                raise InputError(f"{self.file}: {split}: {value} {lack}; correct the path")
        outside = [path for path in found if not path.is_relative_to(self.root)]
        if outside:
            raise InputError(
                f"{self.file}: {split} leads to {outside[0]}, out of {self.root}; keep all data "
                "below one folder"
            )
        return list(found)

    def _resolve(self, value: str) -> Path | None:
        """Return the folder or list that a path means, as Ultralytics or Roboflow write it.

        Nothing outside `root`.
        """
        base = str(self.content.get("path") or "")
        bare = value
        while bare.startswith("../"):
            bare = bare[3:]
        tries = [self.root / base / value, self.root / value, self.root / bare]
        plain = [Path(os.path.abspath(path)) for path in tries]  # noqa: PTH100 - links stay what they are
        home = Path(os.path.abspath(self.root))  # noqa: PTH100
        inside = [self.root / path.relative_to(home) for path in plain if path.is_relative_to(home)]
        return next((path for path in inside if path.exists()), None)

    def _listed(self, file: Path) -> list[Path]:
        """The images that a list names, one a line, relative to the list or to the data."""
        lines = map(str.strip, read_text(file, errors="surrogateescape").splitlines())
        folder = file.parent.relative_to(self.root)
        return [
            self._resolve(line)
            or self._resolve(str(folder / line))
            or self.root / line.lstrip("./")
            for line in lines
            if line
        ]


def _images_in(folder: Path, issues: list[Issue]) -> list[Path]:
    """The images in a folder; other files there are listed, but for labels beside their images."""
    files = visible_files(folder)
    odd = [path for path in files if not is_image_name(path) and path.suffix.lower() != ".txt"]
    issues += [no_image(path) for path in odd]
    return [path for path in files if is_image_name(path)]


def label_file(image: Path, root: Path) -> Path:
    """Where the objects of an image are.

    In `labels` in place of the last folder called `images`, or else beside it.
    """
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    folders = [number for number, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return root.joinpath(*parts)


class _Reader:
    """Makes samples of the images of every split."""

    def __init__(self, places: _Places, labels: dict[int, int]) -> None:
        self.places, self.labels = places, labels
        self.has_key_points = bool(places.content.get("kpt_shape"))
        self.issues: list[Issue] = []
        if self.has_key_points:
            what = "kpt_shape: objects have key points"
            self.issues.append(Issue(str(places.file), what, "their boxes alone are used"))
        self.splits: dict[Path, Split] = {}
        """Of the images so far."""

    def samples(self, split: Split) -> tuple[DetectionSample, ...]:
        """One of every image of a split.

        Raises:
            InputError: an image that belongs to another split too.
        """
        images = self.places.images(split, self.issues)
        taken = [path for path in images if path in self.splits]
        if taken:
            raise InputError(
                f"{self.places.file}: {taken[0]} is in {self.splits[taken[0]]} and in {split}; "
                "keep it in one"
            )
        first = len(self.splits) + 1
        self.splits |= dict.fromkeys(images, split)
        sizes = upright_sizes(images)
        files = {path: label_file(path, self.places.root) for path in images}
        self._list_strays(set(files.values()))
        return tuple(
            self._sample(path, file, sizes[path], number)
            for number, (path, file) in enumerate(files.items(), start=first)
        )

    def _list_strays(self, files: set[Path]) -> None:
        for folder in sorted({file.parent for file in files if file.parent.is_dir()}):
            strays = {
                path for path in folder.iterdir() if path.suffix == ".txt" and path.name[0] != "."
            } - files
            self.issues += [
                problem(str(path), "annotation without an image", "left out")
                for path in sorted(strays)
            ]

    def _sample(
        self, path: Path, file: Path, size: tuple[int, int], number: int
    ) -> DetectionSample:
        raw: list[RawObject] = []
        error = None
        if not file.exists():
            self.issues.append(
                problem(str(file), "no such label file", "its image is taken to have no objects")
            )
        elif size != UNKNOWN_SIZE:
            try:
                lines = read_text(file).splitlines()
                raw = [
                    item
                    for n, line in enumerate(lines, start=1)
                    if (item := self._object(file, n, line, size))
                ]
            except (OSError, ValueError) as caught:
                error = f"its labels {file} cannot be read: {caught}"
        objects = make_objects(raw, size, file=file, issues=self.issues)
        return DetectionSample(path, objects, number, size, error)

    def _object(
        self, file: Path, number: int, line: str, size: tuple[int, int]
    ) -> RawObject | None:
        """The object of a line: a class number and a box, or the points of a polygon.

        None if blank or wrong.
        """
        if not line.strip():
            return None
        category, *values = map(to_number, line.split())
        del values[4 if self.has_key_points else len(values) :]
        label = self.labels.get(int(category)) if category.is_integer() else None
        where = f"line {number}"
        if label is None:
            what = f"{where}: class {line.split(maxsplit=1)[0]} is none of {ranges(self.labels)}"
        elif len(values) < 4 or len(values) % 2:
            what = f"{where}: {len(values)} numbers behind the class"
            what += ", expected 4 of a box or those of a polygon"
            what += "; remove the last if it is a confidence" if len(values) > 4 else ""
        else:
            return _raw_object(where, label, values, size)
        self.issues.append(problem(str(file), what, "dropped"))
        return None


def _raw_object(where: str, label: int, values: list[float], size: tuple[int, int]) -> RawObject:
    """From shares of the image's width and height to pixels."""
    width, height = size
    if len(values) == 4:
        x, y, across, down = values
        box = (
            (x - across / 2) * width,
            (y - down / 2) * height,
            (x + across / 2) * width,
            (y + down / 2) * height,
        )
        return RawObject(where, label, box)
    points = [value * side for value, side in zip(values, cycle(size), strict=False)]
    xs, ys = points[::2], points[1::2]
    return RawObject(where, label, (min(xs), min(ys), max(xs), max(ys)), [points])
