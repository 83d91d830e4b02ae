"""Finding the task that data are for, by their layout."""

from pathlib import Path
from typing import Literal

from nommer.data.formats import (
    box_tables,
    classification,
    detection,
    folder_names,
    mask_layouts,
    multi_label,
    tables,
)
from nommer.data.formats.labelled import check_folder
from nommer.data.formats.recognise import FORMATS, choose_format
from nommer.data.formats.unread import find_unread
from nommer.data.image_paths import is_image_name, sub_folders, visible_files
from nommer.errors import InputError
from nommer.settings.labels import LabelOptions

Task = Literal["classification", "multi-label classification", "segmentation", "detection"]

LAYOUTS = (
    f"{classification.LAYOUTS}\n{multi_label.LAYOUTS}\n{mask_layouts.LAYOUTS}\n{detection.LAYOUTS}"
)
"""Of all tasks."""


def find_task(
    root: Path, classes: Path | None = None, options: LabelOptions = LabelOptions()
) -> Task:
    """The task that data are for, by the layout.

    Args:
        root: folder, archive or table of the data.
        classes: file that tells the classes of masks, in the place of any in `root`.
        options: which format is meant where several lie in `root`.

    Raises:
        InputError: no folder, or nothing in it that fits; the message shows the accepted layouts.
    """
    if root.is_file() and box_tables.find_tables(root):
        return "detection"
    if options.format == "folders":
        return "classification"
    if options.format == "table" or classification.is_classification_alone(root):
        return _one_or_several(root) if _holds_tables(root) else "classification"
    check_folder(root, LAYOUTS)
    if (chosen := choose_format(root, classes, options)) is not None:
        return FORMATS[chosen[0]].task
    if tables.find_tables(root):
        return _one_or_several(root)
    _refuse_what_is_not_read(root, classes, options)
    below = sub_folders(root)
    if any(is_image_name(path) for folder in below for path in visible_files(folder)):
        return "classification"
    raise InputError(f"{root}: found no folders of images; {LAYOUTS}")


def _holds_tables(root: Path) -> bool:
    return bool(tables.find_tables(root))


def _refuse_what_is_not_read(root: Path, classes: Path | None, options: LabelOptions) -> None:
    """Refuse folders that are of another tool, one level too high, or of images alone.

    Raises:
        InputError: what was found, and what to do.
    """
    below = sub_folders(root)
    if len(below) == 1 and choose_format(below[0], classes, options):
        raise InputError(f"{root}: the data lie one folder deeper; use {below[0]}")
    if (unread := find_unread(root)) is not None:
        raise InputError(f"{root}: {unread}; {LAYOUTS}")
    names = [folder.name for folder in below]
    if names and all(folder_names.kind_of(name) in folder_names.ALL_FOLDERS for name in names):
        raise InputError(
            f"{root}: found the folders {', '.join(names)}, but not one of images beside one of "
            f"masks; {LAYOUTS}"
        )


def _one_or_several(root: Path) -> Task:
    """The task of tables and lists, by what they hold."""
    return "multi-label classification" if tables.gives_several(root) else "classification"
