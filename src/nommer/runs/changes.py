"""Differences between a run and its resumption, in words: files, contents, settings."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any


def describe_changes(changes: list[str], most: int = 5) -> str:
    """The first changes, and how many more there are."""
    return "; ".join(changes[:most]) + (
        f" and {len(changes) - most} more" if len(changes) > most else ""
    )


def changed_files(before: str, now: str) -> list[str]:
    """Describe the differences of two splits, as `split_as_csv` puts them.

    Contents are compared where both tell of them: a run may be from before they were written down.
    """
    old, new = _by_file(before), _by_file(now)
    changes = [f"{file} is new" for file in sorted(new.keys() - old.keys())]
    changes += [f"{file} is gone" for file in sorted(old.keys() - new.keys())]
    for file in sorted(old.keys() & new.keys()):
        (was, had), (is_now, has) = old[file], new[file]
        if was != is_now:
            changes.append(f"{file} is now {', '.join(is_now)}, was {', '.join(was)}")
        elif had and has and had != has:
            changes.append(f"{file} is another file than it was, or labelled otherwise")
    return changes


def tell_contents(*splits: str) -> bool:
    """Return whether splits tell the content of every file: then data may have moved."""
    files = [_by_file(split) for split in splits]
    return all(content for split in files for _, content in split.values()) and all(files)


def _by_file(split: str) -> dict[str, tuple[list[str], str]]:
    """Of every file its split and label, and its content."""
    _, *rows = csv.reader(io.StringIO(split))
    return {row[0]: (row[1:3], "".join(row[3:])) for row in rows}


def changed_settings(
    before: Mapping[str, Any], now: Mapping[str, Any], group: str = ""
) -> Iterator[str]:
    """Describe the differences of two mappings of plain settings, with their full names."""
    for name, value in now.items():
        old = before.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            yield from changed_settings(old, value, f"{group}{name}.")
        elif value != old:
            yield f"{group}{name}: the run has {old}, now {value}"
