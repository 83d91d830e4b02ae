"""Finding the task that data are for, by their layout."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from nommer.data.archives import is_archive_name
from nommer.data.formats import (
    box_tables,
    classification,
    detection,
    folder_names,
    mask_layouts,
    multi_label,
    shards,
    tables,
)
from nommer.data.formats.labelled import check_folder, unpacking
from nommer.data.formats.recognise import FORMATS, choose_format
from nommer.data.formats.results import refuse_results
from nommer.data.formats.source import Source
from nommer.data.formats.unread import find_unread
from nommer.data.image_paths import (
    direct_files,
    is_data_file,
    is_folder,
    is_image_name,
    sub_folders,
    visible_files,
)
from nommer.errors import InputError

Task = Literal["classification", "multi-label classification", "segmentation", "detection"]

LAYOUTS = (
    f"{classification.LAYOUTS}\n{multi_label.LAYOUTS}\n{mask_layouts.LAYOUTS}\n{detection.LAYOUTS}"
)
"""Of all tasks."""


def find_task(place: Source | Path) -> Task:
    """The task that data are for, by the layout.

    Args:
        place: folder, archive or table of the data.

    Raises:
        InputError: no folder, or nothing in it that fits; the message shows the accepted layouts.
    """
    source = Source.of(place)
    root = source.root
    refuse_results(root)
    if (known := _in_file(source)) is not None:
        return known
    if source.labels.format == "folders":
        return "classification"
    if source.labels.format == "table" or classification.is_classification_alone(source):
        return _one_or_multi_label(source)
    check_folder(root, LAYOUTS)
    if (chosen := source.once(choose_format)) is not None:
        return FORMATS[chosen[0]].task
    if source.once(tables.find_tables):
        return _one_or_multi_label(source)
    _refuse_what_is_not_read(source)
    below = sub_folders(root)
    if any(is_image_name(path) for folder in below for path in visible_files(folder)):
        return "classification"
    raise InputError(f"{root}: found no folders of images; {LAYOUTS}")


def _in_file(source: Source) -> Task | None:
    """The task of a table of boxes, or an archive of images with masks or objects; else None."""
    if is_data_file(source.root) and source.once(box_tables.find_tables):
        return "detection"
    if not is_archive_name(source.root) or not is_folder(source.root):
        return None
    if source.labels.format in ("folders", "table") or shards.find_shards(source.root):
        return None
    inside = source.inside()
    chosen = inside.once(choose_format)
    return None if chosen is None else FORMATS[chosen[0]].task


def _refuse_what_is_not_read(source: Source) -> None:
    """Refuse folders that are of another tool, one level too high, or of images alone.

    Raises:
        InputError: what was found, and what to do.
    """
    root, below = source.root, sub_folders(source.root)
    if len(below) == 1 and choose_format(replace(source, root=below[0], _found={})):
        raise InputError(f"{root}: the data lie one folder deeper; use {below[0]}")
    if (unread := find_unread(root)) is not None:
        raise InputError(f"{root}: {unread}; {LAYOUTS}")
    for folder in below:
        if folder_names.kind_of(folder.name) in folder_names.IMAGE_FOLDERS and _holds_classes(
            folder
        ):
            raise InputError(
                f"{root}: {folder.name} holds folders of images; if these are classes, use {folder}"
            )
    names = [folder.name for folder in below]
    if names and all(folder_names.kind_of(name) in folder_names.ALL_FOLDERS for name in names):
        command = unpacking(root)
        raise InputError(
            f"{root}: found the folders {', '.join(names)}, but not one of images beside one of "
            f"masks; {f'unpack the archives there first: {command}' if command else LAYOUTS}"
        )


def _holds_classes(folder: Path) -> bool:
    """Tell if two or more folders of images lie in a folder, and no image beside them."""
    if any(is_image_name(path) for path in direct_files(folder)):
        return False
    return sum(any(map(is_image_name, direct_files(child))) for child in sub_folders(folder)) > 1


def _one_or_multi_label(source: Source) -> Task:
    """The task of tables and lists, by what they hold."""
    return "multi-label classification" if tables.is_multi_label(source) else "classification"
