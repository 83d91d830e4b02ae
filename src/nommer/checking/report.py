"""The page that `nommer check` writes: what is wrong, what there is, and how it looks."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from nommer.checking.figures import class_figure
from nommer.data.audit import ImageReport
from nommer.data.findings import by_kind
from nommer.data.formats.labelled import Issue, LabelledImages
from nommer.data.images import ImageError, decode
from nommer.report import Page
from nommer.tasks.checking import Facts, TaskCheck
from nommer.tasks.grid import grid
from nommer.tasks.task import Task

_SHOWN = 20
"""Samples that are shown."""
_PROBLEMS_SHOWN = 12
"""Images with problems that are shown."""
_MOST_CLASSES = 40
"""Rows of the table of classes."""

VERDICTS = {
    "fatal": "Training would refuse these data.",
    "problem": "These data can be used, but something is lost or doubtful.",
    "note": "These data can be used; see the notes.",
    "": "Nothing is amiss.",
}
"""The meaning of the gravest finding."""


def write_report(
    data: LabelledImages[Any],
    facts: Facts,
    task: Task,
    summary: Mapping[str, Any],
    findings: Sequence[Issue],
    path: Path,
    command: str,
) -> None:
    """Write `report.html`; `command` is what to do next."""
    verdict = VERDICTS[findings[0].severity if findings else ""]
    page = Page(
        f"Data check: {data.root.name}", summary=f"{verdict} {_in_a_sentence(task.name, summary)}"
    )
    page.table(
        ["", "value"], [[name, value] for name, value in summary.items()], caption=str(data.root)
    )
    _add_findings(page, data, findings, task.checking)
    _add_classes(page, data, facts, task.checking)
    _add_images(page, list(facts.images.values()))
    _add_samples(page, data, facts, task.checking)
    page.section("Next")
    page.command(command)
    page.save(path)


def write_refusal(
    root: Path,
    summary: Mapping[str, Any],
    findings: Sequence[Issue],
    images: Sequence[ImageReport],
    path: Path,
    command: str,
) -> None:
    """Write `report.html` of data whose labels could not be read; `command` is what to do next."""
    page = Page(f"Data check: {root.name}", summary=VERDICTS["fatal"])
    page.table(["", "value"], [[name, value] for name, value in summary.items()], caption=str(root))
    page.section("What was found")
    refusal, *unreadable = findings
    page.text(refusal.what)
    if unreadable:
        rows = [
            [Path(kind[0].file).relative_to(root), len(kind), kind[0].what]
            for kind in by_kind(unreadable)
        ]
        page.table(["for example", "images", "what"], rows, caption="Images that cannot be read.")
    if images:
        _add_images(page, images)
    page.section(
        "Next",
        "Mend what is said above, then look again; labels are only looked at once they can be "
        "read.",
    )
    page.command(command)
    page.save(path)


def _in_a_sentence(task: str, summary: Mapping[str, Any]) -> str:
    return (
        f"{summary['images']:,} images of {summary['classes']:,} classes for {task}; "
        f"problems: {summary['problems']:,}, notes: {summary['notes']:,}."
    )


def _add_findings(
    page: Page, data: LabelledImages[Any], findings: Sequence[Issue], check: TaskCheck
) -> None:
    page.section("What was found", "" if findings else "Nothing.")
    for finding in findings:
        if finding.severity == "fatal":
            page.text(finding.what)
    listed = [finding for finding in findings if finding.severity != "fatal"]
    if listed:
        page.table(
            ["severity", "count", "for example", "what", "done"],
            kind_rows(data, listed),
            caption="Findings by kind; every single one is a line of data_issues.jsonl.",
        )
    pictures = _problem_pictures(data, findings, check)
    if pictures:
        caption = "Images with problems."
        page.figure(
            grid(pictures),
            caption=caption,
            alt="; ".join(text.replace("\n", ": ") for _, text in pictures),
        )


def kind_rows(data: LabelledImages[Any], findings: Sequence[Issue]) -> list[list[Any]]:
    """A row for every kind of finding, with one of its files and what is said of that."""
    kinds = ((kind[0], len(kind)) for kind in by_kind(findings))
    return [
        [first.severity, count, _called(data, first), first.what, first.done]
        for first, count in kinds
    ]


def _called(data: LabelledImages[Any], finding: Issue) -> str:
    """The file that a finding is about, as the reader knows it."""
    path = Path(finding.file)
    return data.root.name if path == data.root else data.name_of(path)


def _problem_pictures(
    data: LabelledImages[Any], findings: Sequence[Issue], check: TaskCheck
) -> list[tuple[Image.Image, str]]:
    """Images of samples with problems, of every kind some, where they can be decoded."""
    by_stem = {
        sample.path.stem: sample for sample in data.samples()
    }  # annotations and masks are named like images
    samples = {finding.file: by_stem.get(Path(finding.file).stem) for finding in findings}
    samples |= {str(sample.path): sample for sample in data.samples()}
    kinds = by_kind(
        [finding for finding in findings if finding.severity == "problem" and samples[finding.file]]
    )
    chosen = [kind[turn] for turn in range(_PROBLEMS_SHOWN) for kind in kinds if turn < len(kind)]
    pictures = []
    for finding in chosen[: 3 * _PROBLEMS_SHOWN]:
        sample = samples[finding.file]
        if picture := _draw(data, sample, check) or _without_labels(sample):
            pictures.append((picture[0], _without_folders(f"{finding.file}\n{finding.what}")))
    return pictures[:_PROBLEMS_SHOWN]


def _draw(
    data: LabelledImages[Any], sample: Any, check: TaskCheck
) -> tuple[Image.Image, str] | None:
    try:
        return check.draw(data, sample)
    except ImageError:
        return None


def _without_folders(text: str) -> str:
    """Return a text about a file without the folders that it lies in, for want of room."""
    return re.sub(r"[^\s']*/", "", text)


def _without_labels(sample: Any) -> tuple[Image.Image, str] | None:
    """The image of a sample whose labels cannot be drawn."""
    try:
        return decode(sample.path), sample.path.name
    except ImageError:
        return None


def _add_classes(page: Page, data: LabelledImages[Any], facts: Facts, check: TaskCheck) -> None:
    counts: dict[str, np.ndarray] = {
        split: check.count(data, facts.usable(part), facts) for split, part in data.splits.items()
    }
    page.section("Classes")
    page.figure(
        class_figure(data.class_names, counts, check.unit),
        caption=f"{check.unit.capitalize()} of each class, by split.",
        alt=f"{check.unit.capitalize()} of {len(data.class_names)} classes; "
        "the table below has the numbers.",
    )
    order = np.argsort(next(iter(counts.values())), kind="stable").tolist()
    rows = [[data.class_names[i], *(int(values[i]) for values in counts.values())] for i in order]
    left = len(rows) - _MOST_CLASSES
    more = f"; the {_MOST_CLASSES} rarest, {left} more are in images.csv" if left > 0 else ""
    caption = f"{check.unit.capitalize()} of each class, the rarest first{more}."
    page.table(["class", *counts], rows[:_MOST_CLASSES], caption=caption)
    if (drawn := check.figure(data, facts)) is not None:
        figure, caption, alt = drawn
        page.figure(figure, caption=caption, alt=alt)


def _add_images(page: Page, images: Sequence[ImageReport]) -> None:
    read = [image for image in images if image.size and not image.error]
    page.section("Image files")
    if not read:
        return
    kinds = Counter((image.format, image.mode, image.orientation) for image in read)
    page.table(
        ["format", "mode", "EXIF orientation", "images"],
        [[*kind, count] for kind, count in kinds.most_common()],
        caption="What the files are; all become 8-bit RGB, upright.",
    )
    sizes = np.array([image.size for image in read])
    if len(np.unique(sizes, axis=0)) == 1:
        page.text(f"All images have {sizes[0, 0]} x {sizes[0, 1]} pixels.")
        return
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    places, weights = np.unique(sizes, axis=0, return_counts=True)
    axes.scatter(
        places[:, 0], places[:, 1], s=8 + 60 * weights / weights.max(), alpha=0.5, color="#4477aa"
    )
    axes.set(xlabel="width (pixels)", ylabel="height (pixels)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    low, high = sizes.min(0), sizes.max(0)
    alt = f"Widths from {low[0]} to {high[0]} and heights from {low[1]} to {high[1]} pixels."
    page.figure(figure, caption="Sizes of the files; the larger the dot, the more images.", alt=alt)


def _add_samples(page: Page, data: LabelledImages[Any], facts: Facts, check: TaskCheck) -> None:
    page.section("Samples", "Spread evenly over the data.")
    samples = [
        sample
        for sample in data.samples()
        if (r := facts.report_of(sample)) is not None and not r.error
    ]
    chosen = [
        samples[i]
        for i in np.linspace(0, len(samples) - 1, min(_SHOWN, len(samples))).round().astype(int)
    ]
    pictures = [picture for sample in chosen if (picture := _draw(data, sample, check))]
    if pictures:
        page.figure(
            grid(pictures),
            caption="Samples as they are labelled.",
            alt="; ".join(text for _, text in pictures),
        )
