"""Which formats lie in a folder, and which of them is read.

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
    object_files,
    voc,
    yolo_description,
)
from nommer.data.formats.labelled import Issue, problem
from nommer.errors import InputError
from nommer.settings.labels import FormatName, LabelOptions

Finder = Callable[[Path, Path | None], object]


@dataclass(frozen=True)
class Format:
    """A format of data in folders."""

    task: Literal["segmentation", "detection"]
    find: Finder
    """Something where a folder holds it, by the folder and the file of its classes."""
    what: str
    """Its files, for people."""


FORMATS: dict[FormatName, Format] = {
    "instance-maps": Format("detection", instance_maps.find_maps, "images and maps of instances"),
    "masks": Format(
        "segmentation", lambda root, _: mask_layouts.find_layout(root), "images and masks"
    ),
    "coco": Format("detection", lambda root, _: coco_files.find_files(root), "COCO's JSON"),
    "yolo": Format(
        "detection", lambda root, _: yolo_description.find_description(root), "YOLO's data.yaml"
    ),
    "voc": Format("detection", lambda root, _: voc.find_places(root), "Pascal VOC's XML"),
    "labelme": Format("detection", lambda root, _: labelme.find_places(root), "labelme's JSON"),
    "boxes-table": Format(
        "detection", lambda root, _: box_tables.find_tables(root), "a table of boxes"
    ),
    "object-files": Format(
        "detection", lambda root, _: object_files.find_folders(root), "a mask file per object"
    ),
}
"""By name, those that are looked for first before others."""


def choose_format(
    root: Path, classes: Path | None, options: LabelOptions
) -> tuple[FormatName, tuple[FormatName, ...]] | None:
    """Return the format of a folder's labels that is read, and those that are passed over.

    None where the folder holds none of them.

    Raises:
        InputError: the chosen format is not there, or the first that is found is faulty.
    """
    if options.format != "auto":
        return (options.format, ()) if options.format in FORMATS else None
    chosen: FormatName | None = None
    others: list[FormatName] = []
    for name, form in FORMATS.items():
        try:
            found = bool(form.find(root, classes))
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


def check_chosen(root: Path, options: LabelOptions, task: str) -> None:
    """Refuse a format that was asked for and is not there, or is of another task.

    Raises:
        InputError: what was asked for.
    """
    if (form := FORMATS.get(options.format)) is None or form.task != task:
        return
    if not form.find(root, None) and options.format not in ("instance-maps", "folders"):
        raise InputError(
            f"--labels.format {options.format}: {root} holds no {form.what}; choose another format "
            "or leave it to auto"
        )
