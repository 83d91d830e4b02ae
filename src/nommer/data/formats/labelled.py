"""Labelled data of any task: samples in splits, class names, and issues."""

import csv
import hashlib
import io
import os
import random
import re
import shlex
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from nommer.data.archives import find_archive
from nommer.data.formats.results import refuse_results
from nommer.data.image_paths import UNREAD_EXTENSIONS, is_folder, sub_folders
from nommer.errors import InputError
from nommer.files import is_file
from nommer.shown import as_cell, cut, of_cell, quote

Split = Literal["train", "val", "test"]

SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Names of the sub-folders that hold a split, in the order they are looked for."""


_YEAR = re.compile(r"(19|20)\d\d$")
"""Behind the name of a split, as in COCO's train2017."""


def split_of(name: str) -> Split | None:
    """The split that a folder or list of this name holds, in whatever case."""
    plain = _YEAR.sub("", name.lower())
    return next((split for split, names in SPLIT_FOLDERS.items() if plain in names), None)


_UNPACK = {
    ".zip": "unzip",
    ".tar": "tar -xf",
    ".tgz": "tar -xf",
    ".gz": "tar -xf",
    ".bz2": "tar -xf",
    ".xz": "tar -xf",
}
"""Archives by the ending of their name, and what unpacks them."""


def check_folder(root: Path, layouts: str) -> None:
    """Refuse what holds no data as they are.

    Args:
        root: where the data should be.
        layouts: how they may lie there, for the message.

    Raises:
        InputError: no folder, or one of archives that are still to be unpacked.
    """
    refuse_results(root)
    if not is_folder(root):
        found = (
            "holds no files"
            if find_archive(root)
            else "not a folder"
            if root.exists()
            else "no such folder"
        )
        raise InputError(f"{root}: {found}; {layouts}")
    if sub_folders(root) or not root.is_dir():
        return
    if command := unpacking(root):
        raise InputError(
            f"{root}: holds archives and no folders of images; unpack them there first: {command}"
        )


def unpacking(root: Path) -> str:
    """Return the command that unpacks the archives directly in a folder, "" without any."""
    found = root.iterdir() if root.is_dir() else ()
    archives = sorted(path for path in found if path.suffix.lower() in _UNPACK and is_file(path))
    if not archives:
        return ""
    commands = " && ".join(
        f"{_UNPACK[path.suffix.lower()]} {shlex.quote(path.name)}" for path in archives[:5]
    )
    more = f" (and {len(archives) - 5} more)" if len(archives) > 5 else ""
    return f"cd {shlex.quote(str(root))} && {commands}{more}"


Severity = Literal["note", "problem", "fatal"]
"""Good to know; costs data or makes results doubtful; makes the data useless as they are."""


@dataclass(frozen=True)
class Issue:
    """One thing found in the data, and what was done about it: a line of `data_issues.jsonl`."""

    file: str
    what: str
    done: str
    severity: Severity = "note"


def problem(file: Path | str, what: str, done: str) -> Issue:
    """Return an issue that costs labels or images, or makes results doubtful."""
    return Issue(str(file), what, done, "problem")


def no_image(path: Path) -> Issue:
    """Return the issue that a file among images is not read, by its name's ending."""
    if path.suffix.lower() in UNREAD_EXTENSIONS:
        return problem(
            str(path),
            f"{path.suffix.lower()} images are not read",
            "left out; convert to JPEG or PNG",
        )
    return Issue(str(path), "file name does not end as an image's", "left out")


LONGEST_NAME = 1000
"""Letters of the name of a class."""


class HasPath(Protocol):
    """A sample: whatever else it holds, it has an image file."""

    @property
    def path(self) -> Path:
        """The image."""


S = TypeVar("S", bound=HasPath)


def _why_unreadable(name: str) -> str:
    """Tell why the name of a class cannot be read: it is not UTF-8, or Python does not use that."""
    try:
        os.fsencode(name).decode("utf-8")
    except UnicodeError:
        return f"the name of class {quote(name)} is not UTF-8; rename it"
    return (
        "names of classes are in UTF-8, which the locale of this terminal cannot read; set "
        "LC_ALL=C.UTF-8, or PYTHONUTF8=1"
    )


@dataclass(frozen=True)
class LabelledImages(ABC, Generic[S]):
    """Labelled images by split, with the class names that their labels index."""

    target: ClassVar[str]
    """Kind of label, as the heading of a column."""

    root: Path
    class_names: tuple[str, ...]
    splits: dict[Split, tuple[S, ...]]
    issues: tuple[Issue, ...] = field(default=())

    def __post_init__(self) -> None:
        for name in self.class_names:
            if any("\ud800" <= sign <= "\udfff" for sign in name):
                raise InputError(f"{self.root}: {_why_unreadable(name)}")
            if len(name) > LONGEST_NAME:
                raise InputError(
                    f"{self.root}: the name of class {quote(name)} has {len(name):,} letters; "
                    f"shorten it to at most {LONGEST_NAME}"
                )

    @property
    def left_out(self) -> int:
        """The number of files that are not used."""
        return sum(issue.done.startswith("left out") for issue in self.issues)

    def samples(self) -> tuple[S, ...]:
        """The samples of all splits, one after the other."""
        return tuple(sample for part in self.splits.values() for sample in part)

    def name_of(self, path: Path) -> str:
        """A file as it is called relative to the data; in full where it lies elsewhere."""
        base, spelled = self._base, path.as_posix()
        return spelled[len(base) :] if spelled.startswith(base) else path.absolute().as_posix()

    @cached_property
    def _base(self) -> str:
        base = base_of(self.root).as_posix()
        return "" if base == "." else base.rstrip("/") + "/"

    @abstractmethod
    def target_of(self, sample: S) -> str:
        """Return the label of a sample as text."""


def base_of(root: Path) -> Path:
    """Return the folder or archive that paths in data are relative to.

    That of the data, or the one that their table lies in.
    """
    return root if is_folder(root) or not root.is_file() else root.parent


def shorten(names: Sequence[str], most: int = 20) -> str:
    """Names as text, the first `most` of them."""
    listed = ", ".join(cut(name, 100) for name in names[:most])
    return listed if len(names) <= most else f"{listed}, ... {len(names)} in all"


def split_as_csv(data: LabelledImages[S], contents: Mapping[Path, str] | None = None) -> str:
    """The split as CSV text.

    File (relative to the data folder), split, class or mask, and what tells its content.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "split", data.target, *([] if contents is None else ["content"])])
    for split, samples in data.splits.items():
        for sample in samples:
            told = [] if contents is None else [contents.get(sample.path, "")]
            row = (data.name_of(sample.path), split, data.target_of(sample), *told)
            rows.writerow(map(as_cell, row))
    return text.getvalue()


def content_of(*parts: str | bytes | None) -> str:
    """Return a hash of 16 letters that tells a file, or a sample's files, from any other.

    "" where a part is not known.
    """
    if any(part is None for part in parts):
        return ""
    joined = b"".join(part.encode() if isinstance(part, str) else part or b"" for part in parts)
    return hashlib.sha256(joined).hexdigest()[:16]


def read_split(root: Path, listed: Path) -> dict[Split, set[Path]]:
    """The files of each split that `split_as_csv` wrote, as paths under `root`.

    Raises:
        InputError: a line without a file, or with another split.
    """
    splits: dict[Split, set[Path]] = defaultdict(set)
    with listed.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        try:
            for number, row in enumerate(csv.DictReader(stream), start=2):
                split, file = row.get("split"), row.get("file")
                if split not in SPLIT_FOLDERS or not file:
                    raise InputError(f"{listed}: is damaged in line {number}: expected file, split")
                splits[split].add(base_of(root) / of_cell(file))
        except csv.Error as error:
            raise InputError(f"{listed}: is damaged: {error}") from error
    return splits


D = TypeVar("D", bound=LabelledImages[Any])


def split_randomly(data: D, *, fraction: float, seed: int) -> D:
    """Hold back `fraction` of "train" as "val", chosen by `seed`, the same on every machine.

    At least one is in each.

    Raises:
        InputError: there is but one image.
    """
    order = sorted(data.splits["train"], key=lambda sample: data.name_of(sample.path))
    if len(order) < 2:
        raise InputError(
            f"{data.root}: one image cannot be split into training and validation; add more"
        )
    random.Random(str(seed)).shuffle(order)  # noqa: S311 - a split is no secret
    held = {
        sample.path for sample in order[: min(max(1, round(fraction * len(order))), len(order) - 1)]
    }
    train = tuple(sample for sample in data.splits["train"] if sample.path not in held)
    val = tuple(sample for sample in data.splits["train"] if sample.path in held)
    return replace(data, splits=data.splits | {"train": train, "val": val})


def check_names(
    folder: Path, found: Sequence[str], expected: Sequence[str], whose: str = "the model's"
) -> None:
    """Refuse classes that are not among those expected.

    Raises:
        InputError: which, and both sides.
    """
    unknown = [name for name in found if name not in expected]
    if unknown:
        raise InputError(
            f"{folder}: class {shorten(unknown)} is not among {whose} classes; found {len(found)}: "
            f"{shorten(found)}; "
            f"expected {len(expected)}: {shorten(expected)}"
        )
