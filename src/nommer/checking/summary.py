"""Numbers of a data set and facts about its image files, for the screen, the page and the table."""

from collections.abc import Sequence
from typing import Any

from nommer.data.audit import ImageReport
from nommer.data.formats.labelled import Issue
from nommer.tasks.checking import Facts
from nommer.tasks.data import Data
from nommer.tasks.task import Task


def summarise(task: Task, data: Data, facts: Facts, findings: Sequence[Issue]) -> dict[str, Any]:
    """The numbers to show first."""
    read = [image for image in facts.images.values() if not image.error]
    sides = [image.size for image in read if image.size]
    grades = [finding.severity for finding in findings]
    sizes = {}
    if sides:
        smallest, largest = min(sides, key=_area), max(sides, key=_area)
        sizes = {"smallest image": _as_text(smallest), "largest image": _as_text(largest)}
    return {
        "images": len(data.samples()),
        **{f"{split} images": len(part) for split, part in data.splits.items()},
        "classes": len(data.class_names),
        **task.checking.totals(data, facts),
        **sizes,
        "unreadable images": sum(bool(image.error) for image in facts.images.values()),
        "turned by EXIF": sum(image.orientation != 1 for image in read),
        "problems": grades.count("problem") + grades.count("fatal"),
        "notes": grades.count("note"),
    }


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _as_text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def image_rows(data: Data, facts: Facts) -> list[dict[str, Any]]:
    """One row per image: what it is labelled with, and what its file is."""
    rows = []
    for split, part in data.splits.items():
        for sample in part:
            image = facts.images.get(sample.path) or ImageReport(
                sample.path, error=getattr(sample, "error", None)
            )
            told = {
                "file": data.name_of(sample.path),
                "split": split,
                data.target: data.target_of(sample),
            }
            rows.append(told | file_facts(image))
    return rows


def file_facts(image: ImageReport) -> dict[str, Any]:
    """Return the known facts about an image file."""
    width, height = image.size or (None, None)
    return {
        "width": width,
        "height": height,
        "orientation": image.orientation,
        "mode": image.mode,
        "format": image.format,
        "bytes": image.file_bytes,
        "sha256": image.digest,
        "error": image.error,
    }
