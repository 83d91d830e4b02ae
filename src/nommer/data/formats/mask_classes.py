"""What the values in masks mean: from a small file, from a known data set's layout, or from the values that occur."""

import colorsys
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nommer.data.formats.labelled import shorten
from nommer.data.masks import IGNORE, LARGEST_VALUE, Colour, MaskEncoding
from nommer.errors import InputError

CLASS_FILES = ("classes.yaml", "classes.yml", "classes.json")
"""Where the classes are described by default, in the folder of the data."""

EXAMPLE = """such as
  classes:
    - {name: road, value: 0, color: [128, 64, 128]}
    - {name: sky, value: 1, color: [70, 130, 180]}
  ignore: 255"""
"""The end of a sentence about class files."""


@dataclass(frozen=True)
class MaskClass:
    """One class: its name, and by what its pixels are known."""

    name: str
    value: int
    colour: Colour | None = None


@dataclass(frozen=True)
class MaskClasses:
    """The classes of a data set, in order, and what is ignored.

    Raises:
        InputError: classes that cannot be told apart, or too many.
    """

    classes: tuple[MaskClass, ...]
    ignored_values: tuple[int, ...] = (IGNORE,)
    ignored_colours: tuple[Colour, ...] = ()
    by_palette: bool = False
    """Palette images are read by the colours of their palette, not by index."""
    ignores_255_by_default: bool = False
    """Value 255 is ignored because nobody said otherwise."""

    def __post_init__(self) -> None:
        if len(self.classes) > IGNORE:
            raise InputError(
                f"found {len(self.classes)} classes; at most {IGNORE} are possible, a label being one byte"
            )
        values = [entry.value for entry in self.classes]
        colours = [entry.colour for entry in self.classes if entry.colour]
        _check_unique("name", [entry.name for entry in self.classes])
        _check_unique("value", [*values, *self.ignored_values])
        _check_unique("color", [*colours, *self.ignored_colours])

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(entry.name for entry in self.classes)

    def encoding(self, names: Sequence[str]) -> MaskEncoding:
        """The encoding whose labels index `names`, which hold every class."""
        values = {entry.value: names.index(entry.name) for entry in self.classes}
        ignored = dict.fromkeys(self.ignored_values, IGNORE)
        if any(entry.colour is None for entry in self.classes):
            return MaskEncoding(values | ignored, ignores_255_by_default=self.ignores_255_by_default)
        colours = {entry.colour: names.index(entry.name) for entry in self.classes if entry.colour}
        colours |= dict.fromkeys(self.ignored_colours, IGNORE)
        return MaskEncoding(values | ignored, colours, self.by_palette, self.ignores_255_by_default)

    def colours(self, names: Sequence[str]) -> tuple[Colour, ...]:
        """A colour for each of `names`: the class's own, or one that no other has."""
        own = {entry.name: entry.colour for entry in self.classes if entry.colour}
        spare = (colour for colour in palette(2 * len(names)) if colour not in own.values())
        return tuple(own.get(name) or next(spare) for name in names)


def _check_unique(what: str, found: Sequence[Any]) -> None:
    twice = next((item for number, item in enumerate(found) if item in found[:number]), None)
    if twice is not None:
        raise InputError(f"{what} {twice!r} stands for two things; every class, and what is ignored, needs its own")


def palette(count: int) -> list[Colour]:
    """The first `count` (at most 512) of a fixed row of distinct colours, neighbours far apart; none black or white."""
    colours = []
    for number in range(count):
        saturation, value = ((0.75, 0.95), (0.55, 0.75), (0.9, 0.6), (0.4, 0.95))[number // 8 % 4]
        red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, saturation, value)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


def find_class_file(root: Path) -> Path | None:
    """The class file in the folder of the data, if there is one.

    Raises:
        InputError: there are several.
    """
    found = [root / name for name in CLASS_FILES if (root / name).is_file()]
    if len(found) > 1:
        raise InputError(
            f"{root}: holds {' and '.join(path.name for path in found)}; keep one, or choose with --classes"
        )
    return found[0] if found else None


def read_class_file(path: Path) -> MaskClasses:
    """Read the names, values and colours of classes, and what is ignored.

    Raises:
        InputError: no such file, or contents that are not understood.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
        return parse_classes(content)
    except OSError as error:
        raise InputError(f"{path}: this class file cannot be read: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: is no valid YAML or JSON: {' '.join(str(error).split())}") from error


def parse_classes(content: Any) -> MaskClasses:
    """The classes that a class file describes, once it is parsed.

    Raises:
        InputError: what is not understood, and what is expected.
    """
    if not isinstance(content, dict) or ("classes" in content) == ("names" in content):
        raise InputError(f"expected a list of classes under 'classes' (or 'names'), {EXAMPLE}")
    unknown = sorted(str(key) for key in content.keys() - {"classes", "names", "ignore"})
    if unknown:
        raise InputError(f"{shorten(unknown)} is not understood; expected classes (or names) and ignore, {EXAMPLE}")
    entries = _entries(content.get("classes", content.get("names")))
    classes = tuple(_parse_class(entry, number) for number, entry in enumerate(entries))
    given = [isinstance(entry, dict) and "value" in entry for entry in entries]
    by_colour = not any(given) and all(entry.colour for entry in classes)
    if any(given) and not all(given):
        raise InputError(f"class {classes[given.index(False)].name!r} has no value, but others have; give all or none")
    values, colours = _parse_ignore(content.get("ignore", []), in_colour=by_colour)
    by_default = "ignore" not in content and IGNORE not in {entry.value for entry in classes}
    return MaskClasses(classes, (IGNORE,) if by_default else tuple(values), tuple(colours), by_colour, by_default)


def _entries(classes: Any) -> list[Any]:
    """The classes as a list; from a mapping of values to names, in the order of the values."""
    if isinstance(classes, dict):
        if not all(isinstance(value, int) for value in classes):
            raise InputError(f"expected whole numbers before the names, as in {{0: road, 1: sky}}, got {classes}")
        return [{"value": value, "name": classes[value]} for value in sorted(classes)]
    if not isinstance(classes, list) or not classes:
        raise InputError(f"expected a list of classes, {EXAMPLE}")
    return classes


def _parse_class(entry: Any, number: int) -> MaskClass:
    fields = entry if isinstance(entry, dict) else {"name": entry}
    unknown = sorted(str(key) for key in fields.keys() - {"name", "value", "color"})
    if unknown:
        raise InputError(f"class {number}: {shorten(unknown)} is not understood; expected name, value and color")
    name, colour = fields.get("name"), fields.get("color")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"class {number}: the name must be text, got {name!r}; write it in quotes if it is text")
    if colour is not None and not _is_colour(colour):
        raise InputError(
            f"class {name!r}: color must be three numbers from 0 to 255, as in [128, 64, 128], got {colour!r}"
        )
    value = fields.get("value", number)
    if not _is_value(value):
        raise InputError(f"class {name!r}: value must be a whole number from 0 to {LARGEST_VALUE}, got {value!r}")
    return MaskClass(name, value, tuple(colour) if colour else None)


def _parse_ignore(ignore: Any, *, in_colour: bool) -> tuple[list[int], list[Colour]]:
    """The values and colours to ignore: one or a list; three numbers are a colour where classes are told by colour."""
    if not isinstance(ignore, list) or (in_colour and _is_colour(ignore)):
        ignore = [ignore]
    values = [item for item in ignore if _is_value(item)]
    colours = [tuple(item) for item in ignore if _is_colour(item)]
    wrong = [item for item in ignore if not _is_value(item) and not _is_colour(item)]
    if wrong:
        raise InputError(
            f"ignore must be a value from 0 to {LARGEST_VALUE}, a color, or a list of them, got {wrong[0]!r}"
        )
    return values, colours


def _is_value(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= LARGEST_VALUE


def _is_colour(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 3 and all(_is_value(part) and part <= 255 for part in item)


_CAMVID: dict[str, Colour] = {
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Pole": (192, 192, 128),
    "Road": (128, 64, 128),
    "Pavement": (60, 40, 222),
    "Tree": (128, 128, 0),
    "SignSymbol": (192, 128, 128),
    "Fence": (64, 64, 128),
    "Car": (64, 0, 128),
    "Pedestrian": (64, 64, 0),
    "Bicyclist": (0, 128, 192),
}

CAMVID = MaskClasses(
    tuple(MaskClass(name, value, colour) for value, (name, colour) in enumerate(_CAMVID.items())),
    ignored_values=(len(_CAMVID),),
)
"""CamVid's 11 classes as the SegNet tutorial numbers them, the twelfth (unlabelled) ignored."""


def ade20k_classes(root: Path, values: Sequence[int]) -> MaskClasses:
    """ADE20K's: 0 is ignored; the names are in `objectInfo150.txt`, or else numbers up to the largest of `values`.

    Raises:
        InputError: a file of names that is not understood.
    """
    file = root / "objectInfo150.txt"
    if file.is_file():
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
        columns = [line.split("\t") for line in lines if line.strip()]
        try:
            numbered = {int(row[0]): row[-1].split(",")[0].strip() for row in columns}
        except ValueError as error:
            raise InputError(
                f"{file}: expected the columns Idx, Ratio, Train, Val, Name between tabs: {error}"
            ) from error
    else:
        numbered = {value: f"class {value}" for value in range(1, max(values, default=0) + 1)}
    classes = tuple(MaskClass(name, value) for value, name in sorted(numbered.items()))
    return MaskClasses(classes, ignored_values=(0,))


def classes_of_values(values: Sequence[int]) -> MaskClasses:
    """A class for every value but 255, which is ignored."""
    classes = tuple(MaskClass(f"class {value}", value) for value in sorted(values) if value != IGNORE)
    return MaskClasses(classes, ignores_255_by_default=True)
