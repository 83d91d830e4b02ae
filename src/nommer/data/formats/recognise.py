"""The formats that lie in a folder, and the choice of the one that is read.

Several label tools may have left their files in one folder. All formats are looked for; the first
is read, and what is passed over is said, unless `labels.format` chooses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nommer.data.formats import (
    box_tables,
    coco_files,
    instance_maps,
    labelme,
    mask_layouts,
    metadata,
    object_files,
    voc,
    yolo_description,
)
from nommer.data.formats.labelled import Issue, problem
from nommer.data.formats.source import Source
from nommer.errors import InputError
from nommer.settings.labels import FormatName

Finder = Callable[[Source], object]


@dataclass(frozen=True)
class Format:
    """A format of data in folders."""

    task: Literal["segmentation", "detection"]
    find: Finder
    """Something where a folder holds it."""
    what: str
    """Its files, for people."""


FORMATS: dict[FormatName, Format] = {
    "instance-maps": Format("detection", instance_maps.find_maps, "images and maps of instances"),
    "masks": Format("segmentation", mask_layouts.find_layout, "images and masks"),
    "coco": Format("detection", coco_files.find_files, "COCO's JSON"),
    "yolo": Format("detection", yolo_description.find_description, "YOLO's data.yaml"),
    "voc": Format("detection", voc.find_places, "Pascal VOC's XML"),
    "labelme": Format("detection", labelme.find_places, "labelme's JSON"),
    "boxes-table": Format("detection", box_tables.find_tables, "a table of boxes"),
    "object-files": Format("detection", object_files.find_folders, "a mask file per object"),
    "metadata": Format("detection", metadata.find_objects, "metadata with objects"),
}
"""By name, those that are looked for first before others."""


def choose_format(
    source: Source,
) -> tuple[FormatName, tuple[FormatName, ...]] | None:
    """Return the format of a folder's labels that is read, and those that are passed over.

    None where the folder holds none of them.

    Raises:
        InputError: the chosen format is not there, or the first that is found is faulty.
    """
    wanted = source.labels.format
    if wanted != "auto":
        return (wanted, ()) if wanted in FORMATS else None
    chosen: FormatName | None = None
    others: list[FormatName] = []
    for name, form in FORMATS.items():
        try:
            found = bool(source.once(form.find))
        except InputError:
            if chosen is None:
                raise
            found = True
        if found and chosen is None:
            chosen = name
        elif found and (chosen, name) != ("instance-maps", "masks"):
            others.append(name)
    return None if chosen is None else (chosen, tuple(others))


def passed_over(root: Path, used: FormatName, others: tuple[FormatName, ...]) -> list[Issue]:
    """Return an issue for every format that lies there and is not read."""
    return [
        problem(
            root,
            f"holds {FORMATS[other].what} too, beside {FORMATS[used].what}",
            f"{used} is read, {other} is not; choose with --labels.format",
        )
        for other in others
    ]


def check_chosen(source: Source, task: str) -> None:
    """Refuse a format that was asked for and is not there, or is of another task.

    Raises:
        InputError: what was asked for.
    """
    root, wanted = source.root, source.labels.format
    if (form := FORMATS.get(wanted)) is None or form.task != task:
        return
    if not source.once(form.find) and wanted not in ("instance-maps", "folders"):
        raise InputError(
            f"--labels.format {wanted}: {root} holds no {form.what}; choose another format "
            "or leave it to auto"
        )
