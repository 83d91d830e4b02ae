"""Findings about all data together: duplicates, classes out of balance, and their severity."""

import re
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

from nommer.data.formats.labelled import Issue, LabelledImages, Split, shorten

Severity = Literal["note", "problem", "fatal"]
"""Good to know; costs data or makes results doubtful; makes the data useless as they are."""

SEVERITIES: tuple[Severity, ...] = ("fatal", "problem", "note")
"""The gravest first."""

_LOSSES = ("left out", "dropped", "clipped", "no images are taken")
"""Wordings of issues that lose something of the data."""

_HARMLESS = (
    "file name does not end as an image's",
    "file name does not end as a shard's",
    "images without a class",
)
"""Wordings of issues about files that were never meant to be learned from."""

IMBALANCE = 10
"""From this ratio on, the largest class against the smallest is worth a note."""

SMALLEST_SIDE = 32
"""Least side in pixels that a network takes; smaller images are enlarged."""


@dataclass(frozen=True)
class Finding(Issue):
    """An issue with its severity: a line of the check's `data_issues.jsonl`."""

    severity: Severity


@dataclass(frozen=True)
class Duplicate:
    """A file whose bytes are those of another one that comes before it."""

    path: Path
    first: Path
    splits: tuple[Split, Split]
    """Of the other one, and its own."""
    targets: tuple[str, str]
    """Labels of the other one, and its own."""
    same_target: bool

    def as_finding(self, data: LabelledImages[Any]) -> Finding:
        """Return it as a finding: a problem where labels differ or training has seen "val".

        Without a "val" split training holds part of "train" back at random, whatever files are the
        same.
        """
        apart = len(set(self.splits)) == 2
        may_part = self.splits == ("train", "train") and "val" not in data.splits
        labels = "with the same label"
        if not self.same_target:
            named = len(set(self.targets)) == 2 and data.target == "class"
            labels = (
                f"which is {self.targets[0]!r}, while this is {self.targets[1]!r}"
                if named
                else "whose labels differ"
            )
        what = f"the same image as {data.name_of(self.first)}, {labels}"
        what += f"; one is in {self.splits[0]}, one in {self.splits[1]}" if apart else ""
        what += (
            "; without a val split one may be learned from and the other evaluated on"
            if may_part
            else ""
        )
        harmless = self.same_target and not apart and not may_part
        return Finding(str(self.path), what, "kept", "note" if harmless else "problem")


def by_kind(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Group findings that differ only in names and numbers, gravest and most frequent first."""
    kinds: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.severity, _without_names(finding.what), _without_names(finding.done)].append(
            finding
        )
    return sorted(kinds.values(), key=lambda kind: (SEVERITIES.index(kind[0].severity), -len(kind)))


def _without_names(text: str) -> str:
    return re.sub(r"(same image as) [^;,]*|'[^']*'|\S*/\S*|[\d.,]+", r"\1", text)


def graded(issue: Issue) -> Finding:
    """An issue that the audit found, with its severity."""
    loses = any(word in issue.done for word in _LOSSES) and issue.what not in _HARMLESS
    return Finding(issue.file, issue.what, issue.done, "problem" if loses else "note")


def find_duplicates(
    data: LabelledImages[Any], digests: Mapping[Path, str], targets: Mapping[Path, Hashable]
) -> list[Duplicate]:
    """Every file of the same bytes as one before it, in the order of the data.

    Args:
        data: the samples.
        digests: hash of each file that could be read.
        targets: what tells whether two samples are labelled alike.
    """
    groups: dict[str, list[tuple[Split, Any]]] = defaultdict(list)
    for split, part in data.splits.items():
        for sample in part:
            if sample.path in digests:
                groups[digests[sample.path]].append((split, sample))
    found = []
    for (first_split, first), *others in groups.values():
        for split, sample in others:
            texts = data.target_of(first), data.target_of(sample)
            same = targets[first.path] == targets[sample.path]
            found.append(Duplicate(sample.path, first.path, (first_split, split), texts, same))
    return found


def find_leaks(data: LabelledImages[Any], digests: Mapping[Path, str]) -> list[Issue]:
    """Return an issue for every image of "val" that is in "train" too, whatever its label.

    Args:
        data: the samples, in splits.
        digests: hash of each image file, where that is known.
    """
    learned = {digests.get(sample.path, ""): sample.path for sample in data.splits.get("train", ())}
    return [
        Issue(
            str(sample.path), f"the same image as {data.name_of(first)}, which is in train", "kept"
        )
        for sample in data.splits.get("val", ())
        if (digest := digests.get(sample.path)) and (first := learned.get(digest))
    ]


def find_small(sizes: Mapping[Path, tuple[int, int]]) -> list[Finding]:
    """Images that are smaller than the network takes."""
    return [
        Finding(
            str(path),
            f"{width} x {height} pixels: a side is under {SMALLEST_SIDE}",
            "enlarged",
            "note",
        )
        for path, (width, height) in sizes.items()
        if min(width, height) < SMALLEST_SIDE
    ]


def find_alike(root: Path, names: Sequence[str]) -> list[Finding]:
    """Return classes whose names differ in case, spaces or the encoding of letters alone."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups["".join(normalize("NFKC", name).casefold().split())].append(name)
    alike = (", ".join(map(repr, group)) for group in groups.values() if len(group) > 1)
    return [
        Finding(str(root), f"classes of nearly the same name: {group}", "kept", "note")
        for group in alike
    ]


def find_imbalance(
    root: Path, names: Sequence[str], counts: Mapping[Split, Sequence[int]], unit: str
) -> list[Finding]:
    """Return classes far out of balance in training, and those without validation data.

    Args:
        root: the data.
        names: of the classes.
        counts: for each split, how much there is of each class.
        unit: what is counted, such as "images".
    """
    found = []
    learned = [
        (count, name) for count, name in zip(counts.get("train", ()), names, strict=False) if count
    ]
    if len(learned) > 1 and max(learned)[0] >= IMBALANCE * min(learned)[0]:
        (most, large), (least, small) = max(learned), min(learned)
        ratio = f"{most / least:.0f} times as many"
        what = f"{large!r} has {most:,} training {unit}, {small!r} {least:,}: {ratio}"
        found.append(Finding(str(root), what, "kept", "note"))
    absent = [name for count, name in zip(counts.get("val", ()), names, strict=False) if not count]
    if absent:
        what = f"{len(absent)} of {len(names)} classes have no validation {unit}: {shorten(absent)}"
        found.append(Finding(str(root), what, "kept", "note"))
    return found
