"""Odd names of classes, and folders that are passed over, in data of any task."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

from nommer.data.archives import find_archive, open_archive
from nommer.data.formats.labelled import Issue, problem
from nommer.data.image_paths import is_image_name
from nommer.data.walking import is_passed_over, is_system_folder
from nommer.errors import InputError
from nommer.shown import quote

_NO_LABELS = ("nan", "none", "null", "n/a", "na", "-", "?", "-1", "")
"""Names that tables have where there is no label, in lower case."""


def find_oddities(root: Path, class_names: Sequence[str]) -> list[Issue]:
    """Return issues about names of classes and about folders that are passed over."""
    return [
        *find_alike(root, class_names),
        *find_no_labels(root, class_names),
        *find_hidden(root),
    ]


def find_alike(root: Path, names: Sequence[str]) -> list[Issue]:
    """Return classes whose names are nearly the same, and may be one by mistake.

    They differ in case, spaces, the encoding of letters, or zeros before a number alone.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        plain = "".join(normalize("NFKC", name).casefold().split())
        groups[str(int(plain)) if plain.isdecimal() else plain].append(name)
    alike = (", ".join(map(repr, group)) for group in groups.values() if len(group) > 1)
    return [
        problem(root, f"classes of nearly the same name: {group}", "kept apart; rename them if one")
        for group in alike
    ]


def find_no_labels(root: Path, names: Sequence[str]) -> list[Issue]:
    """Return classes that look like the lack of a label, as nan or -1 in a table."""
    return [
        problem(
            root,
            f"class {quote(name)} looks like no label",
            "kept as a class; mend it if it is none",
        )
        for name in names
        if name.strip().lower() in _NO_LABELS
    ]


def find_hidden(root: Path) -> list[Issue]:
    """Return folders with images that are passed over: hidden ones, and those of systems."""
    if find_archive(root):
        return _hidden_in_archive(root)
    found = []
    for parent, folders, _ in os.walk(root):
        passed = [name for name in folders if is_passed_over(name)]
        folders[:] = [name for name in folders if name not in passed]
        for path in sorted(Path(parent, name) for name in passed):
            if count := _count_images(path):
                found.append(_about_hidden(path, count))
    return found


def _about_hidden(path: Path, count: int) -> Issue:
    if is_system_folder(path.name):
        return Issue(str(path), f"{count} images of the system, not of the data", "left out")
    what = f"a hidden folder, for its name begins with a dot, with {count} images"
    return problem(path, what, "left out; rename it if it belongs to the data")


def _count_images(folder: Path) -> int:
    return sum(is_image_name(Path(name)) for _, _, names in os.walk(folder) for name in names)


def _hidden_in_archive(root: Path) -> list[Issue]:
    found = find_archive(root)
    try:
        hidden = open_archive(found[0]).hidden if found else []
    except InputError:
        return []
    count = sum(is_image_name(Path(name)) for name in hidden)
    return [Issue(str(root), f"{count} hidden images", "left out")] if count else []
