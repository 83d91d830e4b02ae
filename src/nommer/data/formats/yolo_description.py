"""The file that describes YOLO data: `data.yaml`, or Darknet's `obj.data` as CVAT writes it."""

import re
from pathlib import Path
from typing import Any
from unicodedata import normalize

import yaml

from nommer.data.formats.class_file import UniqueKeys
from nommer.data.formats.labelled import Split, shorten
from nommer.data.formats.objects import to_id
from nommer.data.formats.source import Source
from nommer.data.image_paths import direct_files, is_data_file
from nommer.data.parsing import parse_yaml, read_text
from nommer.errors import InputError
from nommer.shown import quote

KEYS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}

_ENDINGS = (".yaml", ".yml")
_DARKNET = ".data"


def find_description(source: Source) -> Path | None:
    """The YAML file that tells names and folders, `data.yaml` before others.

    Raises:
        InputError: several, none of which is called so.
    """
    root = source.root
    files = sorted(path for path in direct_files(root) if path.suffix.lower() in _ENDINGS)
    found = [path for path in files if _describes(source, path)]
    preferred = [path for path in found if path.stem.lower() == "data"] or found
    if len(preferred) > 1:
        raise InputError(
            f"{root}: {' and '.join(path.name for path in preferred)} all describe YOLO data; keep "
            "one"
        )
    return preferred[0] if preferred else _find_darknet(source)


def _find_darknet(source: Source) -> Path | None:
    """Return Darknet's description, of lines such as names = FILE, as CVAT's YOLO 1.1 has it."""
    files = sorted(path for path in direct_files(source.root) if path.suffix.lower() == _DARKNET)
    found = [
        path for path in files if {"names", "train"} <= source.once(_read_darknet, path).keys()
    ]
    return found[0] if found else None


def _read_darknet(_: Source, path: Path) -> dict[str, Any]:
    lines = read_text(path, errors="replace").splitlines()
    pairs = [line.split("=", 1) for line in lines if "=" in line and line.strip()[0] != "#"]
    return {key.strip(): value.strip() for key, value in pairs}


def read_description(source: Source, path: Path) -> Any:
    """Return the content of a description, the names of Darknet's file among it.

    Raises:
        InputError: it is not understood, or the file of the names is not there.
    """
    if path.suffix.lower() != _DARKNET:
        return source.once(_load, path)
    content = source.once(_read_darknet, path)
    file = path.parent / Path(content["names"]).name
    if not is_data_file(file):
        raise InputError(
            f"{path}: names the classes in {content['names']}, but {file} is not there; add it"
        )
    lines = read_text(file, errors="replace").splitlines()
    return content | {"names": [line.strip() for line in lines if line.strip()]}


def _describes(source: Source, path: Path) -> bool:
    try:
        if path.stem.lower() != "data" and b"names" not in source.content(path):
            return False  # such as a file of the classes of masks
        content = source.once(_load, path)
    except (InputError, OSError):
        return path.stem.lower() == "data"
    return (
        isinstance(content, dict)
        and "names" in content
        and any(key in content for k in KEYS.values() for key in k)
    )


def _load(source: Source, path: Path) -> Any:
    try:
        return parse_yaml(source.content(path).decode("utf-8-sig"), _Loader)
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


def read_names(file: Path, content: Any) -> dict[int, str]:
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
        number: normalize("NFC", str(numbered[number]))
        for number in sorted(n for n in numbered if n is not None)
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
