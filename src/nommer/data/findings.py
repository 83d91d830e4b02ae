"""Findings about all data together: duplicates, classes out of balance, and their severity."""

import re
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nommer.data.formats.labelled import (
    Issue,
    LabelledImages,
    Severity,
    Split,
    problem,
    shorten,
)
from nommer.progress import notice

SEVERITIES: tuple[Severity, ...] = ("fatal", "problem", "note")
"""The gravest first."""

_KINDS_SHOWN = 5
"""Kinds of problems that are printed before a training."""

IMBALANCE = 10
"""From this ratio on, the largest class against the smallest is worth a note."""

SMALLEST_SIDE = 32
"""Least side in pixels that a network takes; smaller images are enlarged."""


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

    def as_finding(self, data: LabelledImages[Any]) -> Issue:
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
        return Issue(str(self.path), what, "kept", "note" if harmless else "problem")


def notice_issues(issues: Sequence[Issue]) -> None:
    """Print how many issues there are, and each kind of problem with an example."""
    if not issues:
        return
    left_out = sum(issue.done.startswith("left out") for issue in issues)
    kinds = by_kind([issue for issue in issues if issue.severity != "note"])
    for kind in kinds[:_KINDS_SHOWN]:
        times = f" ({len(kind):,} times)" if len(kind) > 1 else ""
        notice(f"{kind[0].file}: {kind[0].what} - {kind[0].done}{times}")
    if len(kinds) > _KINDS_SHOWN:
        notice(f"and {len(kinds) - _KINDS_SHOWN} more kinds of problems")
    notice(f"{len(issues)} issues in the data, {left_out} files left out: see data_issues.jsonl")


def by_kind(findings: Sequence[Issue]) -> list[list[Issue]]:
    """Group findings that differ only in names and numbers, gravest and most frequent first."""
    kinds: dict[tuple[str, str, str], list[Issue]] = defaultdict(list)
    for finding in findings:
        kinds[finding.severity, _without_names(finding.what), _without_names(finding.done)].append(
            finding
        )
    return sorted(kinds.values(), key=lambda kind: (SEVERITIES.index(kind[0].severity), -len(kind)))


def _without_names(text: str) -> str:
    return re.sub(r"(same image as) [^;,]*|'[^']*'|\S*/\S*|[\d.,]+", r"\1", text)


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
        problem(sample.path, f"the same image as {data.name_of(first)}, which is in train", "kept")
        for sample in data.splits.get("val", ())
        if (digest := digests.get(sample.path)) and (first := learned.get(digest))
    ]


def find_small(sizes: Mapping[Path, tuple[int, int]]) -> list[Issue]:
    """Images that are smaller than the network takes."""
    return [
        Issue(
            str(path),
            f"{width} x {height} pixels: a side is under {SMALLEST_SIDE}",
            "enlarged",
            "note",
        )
        for path, (width, height) in sizes.items()
        if min(width, height) < SMALLEST_SIDE
    ]


def find_imbalance(
    root: Path, names: Sequence[str], counts: Mapping[Split, Sequence[int]], unit: str
) -> list[Issue]:
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
        found.append(Issue(str(root), what, "kept", "note"))
    absent = [name for count, name in zip(counts.get("val", ()), names, strict=False) if not count]
    if absent:
        what = f"{len(absent)} of {len(names)} classes have no validation {unit}: {shorten(absent)}"
        found.append(Issue(str(root), what, "kept", "note"))
    return found
