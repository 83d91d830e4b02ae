"""The class file, YAML or JSON: names of classes of masks, with their values and colours."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from nommer.data.formats.labelled import shorten
from nommer.data.formats.mask_classes import MaskClass, MaskClasses
from nommer.data.formats.source import Source
from nommer.data.image_paths import is_folder, is_there
from nommer.data.masks import IGNORE, LARGEST_VALUE, Colour
from nommer.data.parsing import parse_json, parse_yaml
from nommer.errors import InputError
from nommer.shown import quote

CLASS_FILES = ("classes.yaml", "classes.yml", "classes.json")
"""Files that describe the classes by default, in the folder of the data."""

EXAMPLE = """such as
  classes:
    - {name: road, value: 0, color: [128, 64, 128]}
    - {name: sky, value: 1, color: [70, 130, 180]}
  ignore: 255"""
"""The end of a sentence about class files."""


def find_class_file(root: Path) -> Path | None:
    """The class file in the folder of the data, if there is one.

    Raises:
        InputError: there are several.
    """
    found = [root / name for name in CLASS_FILES if is_there(root / name)]
    found = [path for path in found if not is_folder(path)]  # a pipe is told when it is read
    if len(found) > 1:
        raise InputError(
            f"{root}: holds {' and '.join(path.name for path in found)}; keep one, or choose with "
            "--classes"
        )
    return found[0] if found else None


def read_class_file(source: Source, path: Path) -> MaskClasses:
    """Read the names, values and colours of classes, and what is ignored.

    Raises:
        InputError: no such file, or contents that are not understood.
    """
    content = source.once(load_class_file, path)
    try:
        return parse_classes(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def load_class_file(source: Source, path: Path) -> Any:
    """Return the content of a class file, not yet looked at.

    Raises:
        InputError: no such file, or no YAML or JSON.
    """
    try:
        text = source.content(path).decode("utf-8-sig")
        if path.suffix.lower() == ".json":
            return parse_json(text, object_pairs_hook=_mapping)
        return parse_yaml(text, UniqueKeys)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(
            f"{path}: this class file cannot be read: {error.strerror or error}"
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"{path}: is no valid YAML or JSON: {' '.join(str(error).split())}"
        ) from error


class UniqueKeys(yaml.SafeLoader):
    """A loader of YAML that refuses repeated keys, of which YAML's own loaders keep the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping, not yet made of Python's objects."""
        node = super().compose_mapping_node(anchor)
        _check_keys([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return node


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_keys([key for key, _ in pairs])
    return dict(pairs)


def _check_keys(keys: list[str]) -> None:
    twice = next((key for key, times in Counter(keys).items() if times > 1), None)
    if twice is not None:
        raise InputError(
            f"the key {quote(twice)} is there twice, and only one of the two can count; keep one"
        )


def parse_classes(content: Any) -> MaskClasses:
    """The classes that a class file describes, once it is parsed.

    Raises:
        InputError: what is not understood, and what is expected.
    """
    if not isinstance(content, dict) or ("classes" in content) == ("names" in content):
        raise InputError(f"expected a list of classes under 'classes' (or 'names'), {EXAMPLE}")
    unknown = sorted(str(key) for key in content.keys() - {"classes", "names", "ignore"})
    if unknown:
        raise InputError(
            f"{shorten(unknown)} is not understood; expected classes (or names) and ignore, "
            f"{EXAMPLE}"
        )
    entries = _entries(content.get("classes", content.get("names")))
    classes = tuple(_parse_class(entry, number) for number, entry in enumerate(entries))
    given = [isinstance(entry, dict) and "value" in entry for entry in entries]
    by_colour = not any(given) and all(entry.colour for entry in classes)
    if any(given) and not all(given):
        raise InputError(
            f"class {quote(classes[given.index(False)].name)} has no value, but others have; give "
            "all "
            "or none"
        )
    values, colours = _parse_ignore(content.get("ignore", []), in_colour=by_colour)
    by_default = "ignore" not in content and IGNORE not in {entry.value for entry in classes}
    return MaskClasses(
        classes, (IGNORE,) if by_default else tuple(values), tuple(colours), by_colour, by_default
    )


def _entries(classes: Any) -> list[Any]:
    """The classes as a list; from a mapping of values to names, in the order of the values."""
    if isinstance(classes, dict) and classes:
        _check_keys([str(int(key)) if str(key).isdecimal() else str(key) for key in classes])
        numbered = {
            int(key) if str(key).isdecimal() else key: name for key, name in classes.items()
        }
        if not all(_is_value(value) for value in numbered):
            raise InputError(
                f"expected whole numbers before the names, as in {{0: road, 1: sky}}, got {classes}"
            )
        return [{"value": value, "name": numbered[value]} for value in sorted(numbered)]
    if not isinstance(classes, list) or not classes:
        raise InputError(f"expected a list of classes, {EXAMPLE}")
    return classes


def _parse_class(entry: Any, number: int) -> MaskClass:
    fields = entry if isinstance(entry, dict) else {"name": entry}
    unknown = sorted(str(key) for key in fields.keys() - {"name", "value", "color"})
    if unknown:
        raise InputError(
            f"class {number}: {shorten(unknown)} is not understood; expected name, value and color"
        )
    name, colour = fields.get("name"), fields.get("color")
    if not isinstance(name, str) or not name.strip():
        raise InputError(
            f"class {number}: the name must be text, got {quote(name)}; write it in quotes if it "
            "is text"
        )
    if colour is not None and not _is_colour(colour):
        raise InputError(
            f"class {quote(name)}: color must be three numbers from 0 to 255, as in [128, 64, "
            "128], got "
            f"{quote(colour)}"
        )
    value = fields.get("value", number)
    if not _is_value(value):
        raise InputError(
            f"class {quote(name)}: value must be a whole number from 0 to {LARGEST_VALUE}, got "
            f"{quote(value)}"
        )
    return MaskClass(name.strip(), value, tuple(colour) if colour else None)


def _parse_ignore(ignore: Any, *, in_colour: bool) -> tuple[list[int], list[Colour]]:
    """The values and colours to ignore: one or a list.

    Three numbers are a colour where classes are told by colour.
    """
    if not isinstance(ignore, list) or (in_colour and _is_colour(ignore)):
        ignore = [ignore]
    values = [item for item in ignore if _is_value(item)]
    colours = [tuple(item) for item in ignore if _is_colour(item)]
    wrong = [item for item in ignore if not _is_value(item) and not _is_colour(item)]
    if wrong:
        raise InputError(
            f"ignore must be a value from 0 to {LARGEST_VALUE}, a color, or a list of them, got "
            f"{quote(wrong[0])}"
        )
    return values, colours


def _is_value(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= LARGEST_VALUE


def _is_colour(item: Any) -> bool:
    return (
        isinstance(item, list)
        and len(item) == 3
        and all(_is_value(part) and part <= 255 for part in item)
    )
