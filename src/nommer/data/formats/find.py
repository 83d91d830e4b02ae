"""What task a folder of data is for."""

from pathlib import Path
from typing import Literal

from nommer.data.formats import folders, mask_layouts
from nommer.data.formats.labelled import check_folder
from nommer.data.images import is_image_name, sub_folders, visible_files
from nommer.errors import InputError

Task = Literal["classification", "segmentation"]

LAYOUTS = f"{folders.LAYOUTS}\n{mask_layouts.LAYOUTS}"
"""Of all tasks."""


def find_task(root: Path) -> Task:
    """The task that the data in a folder are for, by the layout.

    Raises:
        InputError: no folder, or nothing in it that fits; the message shows the accepted layouts.
    """
    check_folder(root, LAYOUTS)
    if mask_layouts.find_layout(root):
        return "segmentation"
    below = sub_folders(root)
    if len(below) == 1 and mask_layouts.find_layout(below[0]):
        raise InputError(f"{root}: the data lie one folder deeper; use {below[0]}")
    if below and {folder.name.lower() for folder in below} <= folders.FOLDERS_OF_OTHER_TASKS:
        names = ", ".join(folder.name for folder in below)
        raise InputError(f"{root}: found the folders {names}, but not one of images beside one of masks; {LAYOUTS}")
    if any(is_image_name(path) for folder in below for path in visible_files(folder)):
        return "classification"
    raise InputError(f"{root}: found no folders of images; {LAYOUTS}")
