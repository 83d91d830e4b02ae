"""Image files whose class stands in a list, a table or an archive's record."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nommer.data.archives import read_bytes
from nommer.data.formats.folders import ClassFolders, Sample
from nommer.data.formats.labelled import Issue, Split, check_names, shorten
from nommer.data.formats.oddities import find_oddities
from nommer.data.image_paths import direct_files
from nommer.errors import InputError
from nommer.shown import quote

NAME_FILES = ("classes.txt", "classnames.txt")
"""Beside lists and shards, the names of classes that are numbered from 0, one a line."""


@dataclass(frozen=True)
class Entry:
    """One image as a data set lists it."""

    where: str
    """File and line, for people."""
    path: Path
    label: str
    split: Split = "train"
    error: str | None = None
    """The reason for which its label cannot be used, and is "". It is left out or refused."""
    labels: tuple[str, ...] | None = None
    """All its labels, where there may be several."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names, or numbers, of its classes."""
        return (self.label,) if self.labels is None else self.labels


def read_text(file: Path) -> str:
    """The content of a text file, on disk or in an archive.

    Raises:
        InputError: its bytes are not UTF-8.
    """
    return decode_text(file, read_bytes(file))


def decode_text(file: Path, content: bytes) -> str:
    """The content of a text file as text.

    Raises:
        InputError: its bytes are not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{file}: line {line} holds the byte 0x{content[error.start]:02x}, which is not UTF-8; "
            "save it as UTF-8"
        ) from error


def collect(
    root: Path,
    entries: Iterable[Entry],
    *,
    class_names: tuple[str, ...] | None,
    issues: Sequence[Issue] = (),
) -> ClassFolders:
    """Entries as labelled images by split.

    Classes are the labels of "train", sorted, by value where all are whole numbers; a file called
    as in `NAME_FILES` gives numbers their names. A "test" split without a "val" beside it is "val".

    Args:
        root: the data.
        entries: what they say.
        class_names: the classes of a model to evaluate, in its order.
        issues: what was found on reading.

    Raises:
        InputError: no entry, an image with two classes or in two splits, fewer than two classes, or
            classes that `class_names` or "train" lack.
    """
    unique, repeated = _once(entries)
    if not unique:
        raise InputError(f"{root}: lists no images; expected at least one")
    unique = _with_names(root, unique)
    splits = {entry.split for entry in unique}
    if class_names is None and "train" not in splits:
        raise InputError(
            f"{root}: holds {', '.join(sorted(splits))} images but none of train; add some"
        )
    names = _class_names(root, unique, class_names)
    numbers = {name: number for number, name in enumerate(names)}
    parts: dict[Split, list[Sample]] = {}
    for split in ("train", "val", "test"):
        if part := [sample_of(e, numbers) for e in unique if e.split == split]:
            parts[split] = part
    if "val" not in parts and "test" in parts:
        parts["val"] = parts.pop("test")
    told = (*issues, *repeated, *find_oddities(root, names))
    return ClassFolders(root, names, {split: tuple(part) for split, part in parts.items()}, told)


def _class_names(
    root: Path, unique: Sequence[Entry], class_names: tuple[str, ...] | None
) -> tuple[str, ...]:
    """The classes of a model to evaluate, or those of "train".

    Raises:
        InputError: fewer than two, or classes that they lack.
    """
    sound = [entry for entry in unique if not entry.error]
    names = class_names or sort_labels(
        {name for e in sound if e.split == "train" for name in e.classes}
    )
    if not names and unique[0].labels is not None:
        raise InputError(f"{root}: no training image has a class; expected at least two classes")
    if not names:
        raise InputError(
            f"{root}: no training image has a class; the first: {unique[0].where}: "
            f"{unique[0].error}"
        )
    found = sort_labels({name for e in sound for name in e.classes})
    check_names(root, found, names, "the model's" if class_names else "the training")
    if len(names) < 2:
        raise InputError(
            f"{root}: every image is of class {quote(names[0])}; expected at least two classes"
        )
    return names


def sample_of(entry: Entry, numbers: Mapping[str, int]) -> Sample:
    """An entry with the numbers of its classes."""
    if entry.labels is None:
        return Sample(entry.path, numbers.get(entry.label, -1), entry.error)
    labels = tuple(sorted(numbers[name] for name in entry.labels))
    return Sample(entry.path, labels[0] if labels else -1, entry.error, labels)


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels in the order of classes: by value where all are whole numbers, else as text."""
    found = list(labels)
    return tuple(
        sorted(found, key=lambda label: (int(label), label))
        if all(label.isdecimal() for label in found)
        else sorted(found)
    )


def _once(entries: Iterable[Entry]) -> tuple[list[Entry], list[Issue]]:
    """Every image once, and those that were listed again.

    Raises:
        InputError: it was listed again with another class, or in another split.
    """
    first: dict[Path, Entry] = {}
    repeated = []
    for entry in entries:
        before = first.setdefault(entry.path, entry)
        if before is entry:
            continue
        if before.label != entry.label:
            raise InputError(
                f"{entry.where}: {entry.path} is of class {quote(entry.label)}, but of "
                f"{quote(before.label)} "
                f"in {before.where}; "
                "keep one"
            )
        if before.split != entry.split:
            raise InputError(
                f"{entry.where}: {entry.path} is in {entry.split}, but in {before.split} in "
                f"{before.where}; keep one"
            )
        repeated.append(Issue(str(entry.path), f"listed again in {entry.where}", "used once"))
    return list(first.values()), repeated


def _with_names(root: Path, entries: list[Entry]) -> list[Entry]:
    """Entries whose labels are numbers, with the names that a file beside them gives.

    Raises:
        InputError: a number without a name.
    """
    folder = root if root.is_dir() else root.parent
    file = next((path for path in direct_files(folder) if path.name in NAME_FILES), None)
    if file is None or not all(
        name.isdecimal() for entry in entries if not entry.error for name in entry.classes
    ):
        return entries
    names = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"{file}: names {shorten(twice, 5)} more than once; every class needs a name of its own"
        )
    for entry in entries:
        beyond = [] if entry.error else [name for name in entry.classes if int(name) >= len(names)]
        if beyond:
            raise InputError(
                f"{entry.where}: class {beyond[0]}, but {file} names {len(names)}, numbered from "
                "0; add its name"
            )
    return [entry if entry.error else _named(entry, names) for entry in entries]


def _named(entry: Entry, names: Sequence[str]) -> Entry:
    if entry.labels is None:
        return replace(entry, label=names[int(entry.label)])
    return replace(entry, labels=tuple(names[int(number)] for number in entry.labels))
