"""Looking at a data set before anything is learned from it: `nommer check`.

Files are read, never changed.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nommer.checking.looks import find_odd_looks
from nommer.checking.near import Alike, find_near_duplicates
from nommer.checking.report import write_refusal, write_report
from nommer.checking.summary import file_facts, image_rows, summarise
from nommer.data.audit import read_images
from nommer.data.findings import (
    SEVERITIES,
    find_duplicates,
    find_imbalance,
    find_small,
)
from nommer.data.formats.labelled import SPLIT_FOLDERS, Issue, problem
from nommer.data.formats.source import Source
from nommer.data.image_paths import is_folder, is_image_name, visible_files
from nommer.errors import InputError
from nommer.extras import require
from nommer.files import real_path, write_csv, write_json
from nommer.runs.folder import RunFolder
from nommer.runs.results import check_folder, check_outside
from nommer.runs.results_folder import results_folder
from nommer.settings.labels import LabelOptions
from nommer.tasks.checking import Facts
from nommer.tasks.data import Auditing, Data
from nommer.tasks.registry import task_for
from nommer.tasks.task import Task

FINE, PROBLEMS, USELESS = 0, 1, 2
"""Exit codes: nothing but notes; something is lost or doubtful; training would refuse the data."""

VAL_FRACTION = 0.2
"""Share that training holds back by default of data without a "val" split."""


@dataclass(frozen=True)
class CheckResult:
    """The findings about a data set, and the folder that they are written to."""

    task: str
    """The task that the data are for, such as "classification"; "" where that cannot be told."""
    summary: dict[str, Any]
    """Numbers about the data, by name."""
    findings: tuple[Issue, ...]
    """The gravest first."""
    out: Path
    """The folder with `report.html`, `data_issues.jsonl`, `images.csv` and `result.json`."""

    @property
    def code(self) -> int:
        """0 where there are but notes, 1 where there is a problem, 2 where training refuses."""
        return code_of(self.findings)


def code_of(findings: Sequence[Issue]) -> int:
    """The exit code, by the gravest of the findings."""
    grades = {finding.severity for finding in findings}
    return USELESS if "fatal" in grades else PROBLEMS if "problem" in grades else FINE


def check_data(
    root: Path,
    *,
    classes: Path | None,
    out: Path | None,
    overwrite: bool,
    labels: LabelOptions = LabelOptions(),
    alike: Alike | None = None,
    looks: bool = False,
) -> CheckResult:
    """Check a data set as `nommer.check` describes; near-duplicates where `alike` says how.

    With `looks` also images that are dark, too light or blurred, or that look the same.
    """
    if looks:
        require("cleanvision", "data", "check --looks")
    _refuse_inside(root, Path("runs", "check") if out is None else out)
    if out is not None and overwrite:
        check_outside(root, out)
    if out is not None:
        check_folder(out, overwrite=overwrite)  # before much is read
    name = ""
    try:
        source = Source(root, classes, labels)
        task = task_for(source)
        name = task.name
        data = _in_order(task.data.read(source))
    except InputError as error:
        if not root.exists() or (
            classes is not None and str(classes) in str(error)
        ):  # the call is mistaken
            raise
        return _refused(
            root, classes, name, str(error), results_folder(None, "check", out, overwrite=overwrite)
        )
    facts = Facts.of(data, task.data.inspect(data))
    findings = find_all(task, data, facts, alike, looks=looks)
    folder = results_folder(None, "check", out, overwrite=overwrite)
    result = CheckResult(task.name, summarise(task, data, facts, findings), tuple(findings), folder)
    _write(folder, root, result.task, result.summary, findings, image_rows(data, facts))
    command = _command(
        "train", "--data", root, classes=classes, out=Path("runs", real_path(root).stem)
    )
    write_report(data, facts, task, result.summary, findings, folder / "report.html", command)
    return result


def _command(*words: str | Path, classes: Path | None, out: Path | None = None) -> str:
    """A command of nommer, to be copied as it stands."""
    options = {"--classes": classes, "--out": out}
    given = [
        word for option, value in options.items() if value is not None for word in (option, value)
    ]
    return shlex.join(map(str, ("nommer", *words, *given)))


def _refused(root: Path, classes: Path | None, task: str, why: str, folder: Path) -> CheckResult:
    """Report on data that contradict themselves or fit nothing.

    Why, and what can be said of their images alone.

    Args:
        root: the data.
        classes: the file of their classes, where one was given.
        task: what they are for; "" where that cannot be told, and then nothing is read.
        why: the sentence with which training would refuse them.
        folder: for what is found.
    """
    images = read_images(_image_files(root) if task else [], whole=True)
    findings = [Issue(str(root), why, "cannot be used", "fatal")]
    findings += [
        Issue(str(image.path), image.error, "left out", "problem")
        for image in images
        if image.error
    ]
    summary = {
        "images found": len(images),
        "unreadable images": sum(bool(image.error) for image in images),
    }
    rows = [
        {"file": image.path.as_posix(), "split": "", "label": "", **file_facts(image)}
        for image in images
    ]
    _write(folder, root, task, summary, findings, rows)
    command = _command("check", root, classes=classes)
    write_refusal(root, summary, findings, images, folder / "report.html", command)
    return CheckResult(task, summary, tuple(findings), folder)


def _image_files(root: Path) -> list[Path]:
    """Every image file below a folder or in an archive, where they can be listed."""
    try:
        return (
            [path for path in visible_files(root) if is_image_name(path)] if is_folder(root) else []
        )
    except InputError:  # of which `why` tells
        return []


def _write(
    folder: Path,
    root: Path,
    task: str,
    summary: Mapping[str, Any],
    findings: Sequence[Issue],
    rows: Sequence[dict[str, Any]],
) -> None:
    """Everything but the page."""
    RunFolder(folder).write_issues(findings)
    write_csv(folder / "images.csv", list(rows))
    write_json(
        folder / "result.json",
        {"data": str(root), "task": task, "code": code_of(findings), **summary},
    )


def _in_order(data: Data) -> Data:
    """The data with "train" before "val" before "test".

    Of two equal images the first is the one to learn from.
    """
    return replace(
        data, splits={split: data.splits[split] for split in SPLIT_FOLDERS if split in data.splits}
    )


def _refuse_inside(root: Path, out: Path) -> None:
    if root.is_dir() and real_path(out).is_relative_to(real_path(root)):
        raise InputError(
            f"--out {out}: lies in the data, which are never written to; choose another --out"
        )


def find_all(
    task: Task, data: Data, facts: Facts, alike: Alike | None = None, *, looks: bool = False
) -> list[Issue]:
    """Everything found, the gravest first."""
    check = task.checking
    issues, refusal = audit_issues(task, data, facts.reports)
    findings = [Issue(str(data.root), refusal, "cannot be used", "fatal")] if refusal else []
    findings += issues
    targets = {sample.path: check.key(sample, facts.report_of(sample)) for sample in data.samples()}
    sound = {sample.path for sample in data.samples() if not getattr(sample, "error", None)}
    digests = {
        p: image.digest
        for p, image in facts.images.items()
        if p in sound and image.digest and not image.error
    }
    findings += [twin.as_finding(data) for twin in find_duplicates(data, digests, targets)]
    if alike is not None:
        findings += find_near_duplicates(data, digests, alike)
    if looks:
        findings += find_odd_looks(data, digests)
    findings += find_small(
        {path: image.size for path, image in facts.images.items() if image.size and not image.error}
    )
    counts = {
        split: check.count(data, facts.usable(part), facts).tolist()
        for split, part in data.splits.items()
    }
    findings += find_imbalance(data.root, data.class_names, counts, check.unit)
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def audit_issues(task: Task, data: Data, reports: Sequence[Any]) -> tuple[list[Issue], str | None]:
    """Return the findings of training's audit, and the sentence with which it would refuse."""
    refusal = None
    for policy in ("auto", "skip"):
        try:
            found = task.data.audit(
                data, Auditing(on_bad_sample=policy, training=True, reports=reports)
            )
            if "val" not in found.data.splits:
                task.data.split(found.data, fraction=VAL_FRACTION, seed=0)
        except InputError as error:
            refusal = refusal or str(error)
        else:
            return list(found.data.issues), refusal
    bad = {sample.path: getattr(sample, "error", None) for sample in data.samples()}
    bad |= {report.path: report.error for report in reports if report.error}
    return [
        *data.issues,
        *(problem(str(path), error, "left out") for path, error in bad.items() if error),
    ], refusal
