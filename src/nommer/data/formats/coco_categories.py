"""The classes of COCO's JSON, and how those of several files fit each other."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

from nommer.data.formats.labelled import Issue, shorten
from nommer.data.formats.objects import to_id
from nommer.errors import InputError
from nommer.shown import quote


@dataclass(frozen=True)
class Category:
    """A class, and what a file calls it."""

    category_id: int
    name: str


def read_categories(path: Path, content: dict[str, Any], issues: list[Issue]) -> list[Category]:
    """Return the categories in the order of their ids, without the group that Roboflow writes.

    Raises:
        InputError: there are none, or they cannot be told apart.
    """
    entries = content.get("categories", [])
    groups = {str(entry.get("supercategory")) for entry in entries}
    used = {to_id(entry.get("category_id")) for entry in content["annotations"]}
    found = []
    for entry in entries:
        category_id, name = to_id(entry.get("id")), entry.get("name")
        if category_id is None or not isinstance(name, str) or not name.strip():
            raise InputError(
                f"{path}: category {quote(entry)} needs a whole number as id and a name"
            )
        if (
            name in groups
            and entry.get("supercategory") in (None, "", "none")
            and category_id not in used
        ):
            issues.append(
                Issue(
                    str(path),
                    f"category {quote(name)} is the group of the others",
                    "not taken for a class",
                )
            )
        else:
            found.append(Category(category_id, normalize("NFC", name)))
    for what, values in (("id", [c.category_id for c in found]), ("name", [c.name for c in found])):
        twice = [value for value, times in Counter(values).items() if times > 1]
        if twice:
            raise InputError(
                f"{path}: two categories have the {what} {quote(twice[0])}; every class needs its "
                "own"
            )
    if not found:
        raise InputError(
            f"{path}: has no categories, so the classes are not known; add them, or remove the file"
        )
    return sorted(found, key=lambda category: category.category_id)


def match_labels(
    path: Path, own: list[Category], known: list[Category], issues: list[Issue]
) -> dict[int, int]:
    """From the category ids of one file to labels; classes are matched by name."""
    names = {category.name: label for label, category in enumerate(known)}
    unknown = [category.name for category in own if category.name not in names]
    if unknown:
        raise InputError(
            f"{path}: class {shorten(unknown)} is not among those of training: {shorten([*names])}"
        )
    labels = {category.category_id: names[category.name] for category in own}
    if any(known[label].category_id != category_id for category_id, label in labels.items()):
        issues.append(
            Issue(str(path), "other category ids than in the training file", "matched by name")
        )
    return labels
