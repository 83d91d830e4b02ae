"""What task a folder of data is for."""

from pathlib import Path
from typing import Literal

from nommer.data.formats import folders, mask_layouts
from nommer.data.formats.labelled import shorten
from nommer.data.images import is_image_name, visible_files
from nommer.errors import InputError

Task = Literal["classification", "segmentation"]

LAYOUTS = f"{folders.LAYOUTS}\n{mask_layouts.LAYOUTS}"
"""Of all tasks."""

_ARCHIVES = (".tar", ".zip", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")


def find_task(root: Path) -> Task:
    """The task that the data in a folder are for, by the layout.

    Raises:
        InputError: no folder, or nothing in it that fits; the message shows the accepted layouts.
    """
    if not root.is_dir():
        raise InputError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}; {LAYOUTS}")
    if mask_layouts.find_layout(root):
        return "segmentation"
    children = sorted(child for child in root.iterdir() if not child.name.startswith("."))
    below = [child for child in children if child.is_dir()]
    inside = next((child for child in below if mask_layouts.find_layout(child)), None)
    if inside:
        raise InputError(f"{root}: the data lie one folder deeper; use {inside}")
    if any(is_image_name(path) for child in below for path in visible_files(child)):
        return "classification"
    archives = [path.name for path in children if path.name.lower().endswith(_ARCHIVES)]
    if archives:
        raise InputError(
            f"{root}: holds archives and no folders of images; unpack them first: {shorten(archives, 5)} "
            f"(tar -xf {archives[0]}, or unzip)"
        )
    raise InputError(f"{root}: found no folders of images; {LAYOUTS}")
