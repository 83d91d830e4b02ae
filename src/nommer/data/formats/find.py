"""Finding the task that data are for, by their layout."""

from pathlib import Path
from typing import Literal

from nommer.data.formats import (
    classification,
    detection,
    folders,
    instance_maps,
    mask_layouts,
    multi_label,
    tables,
)
from nommer.data.formats.labelled import check_folder
from nommer.data.images import is_image_name, sub_folders, visible_files
from nommer.errors import InputError

Task = Literal["classification", "multi-label classification", "segmentation", "detection"]

LAYOUTS = (
    f"{classification.LAYOUTS}\n{multi_label.LAYOUTS}\n{mask_layouts.LAYOUTS}\n{detection.LAYOUTS}"
)
"""Of all tasks."""


def find_task(root: Path, classes: Path | None = None) -> Task:
    """The task that data are for, by the layout.

    Args:
        root: folder, archive or table of the data.
        classes: file that tells the classes of masks, in the place of any in `root`.

    Raises:
        InputError: no folder, or nothing in it that fits; the message shows the accepted layouts.
    """
    if classification.is_classification_alone(root):
        return _one_or_several(root) if root.is_file() else "classification"
    check_folder(root, LAYOUTS)
    if (task := _by_layout(root, classes)) is not None:
        return task
    if tables.find_tables(root):
        return _one_or_several(root)
    below = sub_folders(root)
    if len(below) == 1 and _by_layout(below[0], classes):
        raise InputError(f"{root}: the data lie one folder deeper; use {below[0]}")
    if below and {folder.name.lower() for folder in below} <= folders.FOLDERS_OF_OTHER_TASKS:
        names = ", ".join(folder.name for folder in below)
        raise InputError(
            f"{root}: found the folders {names}, but not one of images beside one of masks; "
            f"{LAYOUTS}"
        )
    if any(is_image_name(path) for folder in below for path in visible_files(folder)):
        return "classification"
    raise InputError(f"{root}: found no folders of images; {LAYOUTS}")


def _one_or_several(root: Path) -> Task:
    """The task of tables and lists, by what they hold."""
    return "multi-label classification" if tables.gives_several(root) else "classification"


def _by_layout(root: Path, classes: Path | None) -> Task | None:
    """The task of data whose layout is of no other.

    Class folders may be called anything, and come last.
    """
    if instance_maps.find_maps(root, classes):
        return "detection"
    if mask_layouts.find_layout(root):
        return "segmentation"
    return "detection" if detection.find_reader(root) else None
