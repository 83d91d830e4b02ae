"""Folders of results in the place of data."""

from pathlib import Path

from nommer.errors import InputError
from nommer.files import is_file

_FILES = ("environment.json", "result.json")
"""Files of every folder of results, which no data have together."""


def refuse_results(root: Path) -> None:
    """Refuse a folder of answers or other results in the place of labelled images.

    Raises:
        InputError: it is one.
    """
    if all(is_file(root / name) for name in _FILES):
        raise InputError(
            f"{root}: holds results of nommer and no labelled images; answers become data by "
            "nommer predict MODEL IMAGES --as-data FOLDER"
        )
