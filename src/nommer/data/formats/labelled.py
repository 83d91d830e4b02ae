"""What all labelled data has in common: samples in splits, class names, and a list of what was found amiss."""

import csv
import io
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, Literal, Protocol, TypeVar

Split = Literal["train", "val", "test"]

SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Names of the sub-folders that hold a split, in the order they are looked for."""


def split_of(name: str) -> Split | None:
    """The split that a folder or list of this name holds, in whatever case."""
    return next((split for split, names in SPLIT_FOLDERS.items() if name.lower() in names), None)


@dataclass(frozen=True)
class Issue:
    """One thing found in the data, and what was done about it: a line of `data_issues.jsonl`."""

    file: str
    what: str
    done: str


class HasPath(Protocol):
    """A sample: whatever else it holds, it has an image file."""

    @property
    def path(self) -> Path:
        """The image."""


S = TypeVar("S", bound=HasPath)


@dataclass(frozen=True)
class LabelledImages(ABC, Generic[S]):
    """Labelled images by split, with the class names that their labels index."""

    target: ClassVar[str]
    """What a sample is labelled with, as the heading of a column."""

    root: Path
    class_names: tuple[str, ...]
    splits: dict[Split, tuple[S, ...]]
    issues: tuple[Issue, ...] = field(default=())

    @property
    def left_out(self) -> int:
        """How many files are not used."""
        return sum(issue.done.startswith("left out") for issue in self.issues)

    def samples(self) -> tuple[S, ...]:
        """The samples of all splits, one after the other."""
        return tuple(sample for part in self.splits.values() for sample in part)

    @abstractmethod
    def target_of(self, sample: S) -> str:
        """What one sample is labelled with, as text."""


def shorten(names: Sequence[str], most: int = 20) -> str:
    """Names as text, the first `most` of them."""
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed}, ... {len(names)} in all"


def split_as_csv(data: LabelledImages[S]) -> str:
    """The split as CSV text: file (relative to the data folder), split, and class or mask."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "split", data.target])
    for split, samples in data.splits.items():
        rows.writerows(
            [sample.path.relative_to(data.root).as_posix(), split, data.target_of(sample)] for sample in samples
        )
    return text.getvalue()


def read_split(root: Path, file: Path) -> dict[Split, set[Path]]:
    """The files of each split that `split_as_csv` wrote, as paths under `root`."""
    splits: dict[Split, set[Path]] = defaultdict(set)
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        for row in csv.DictReader(stream):
            splits[row["split"]].add(root / row["file"])  # type: ignore[index]  # one of Split, as written
    return splits
