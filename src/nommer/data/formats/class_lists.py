"""Lists of the classes of masks that label tools write beside their exports.

- `labelmap.txt`: CVAT's "Segmentation mask 1.1", lines "name:red,green,blue:parts:actions";
- `class_names.txt`: labelme's labelme2voc.py, a name a line, the values counted from 0;
- `_classes.csv`: Roboflow's "Semantic Segmentation Masks", columns "Pixel Value" and "Class";
- `class_dict.csv`: CamVid as on Kaggle, columns name, r, g, b.
"""

import csv
from collections.abc import Callable
from pathlib import Path

from nommer.data.formats.labelled import split_of
from nommer.data.formats.mask_classes import MaskClass, MaskClasses
from nommer.data.formats.source import Source
from nommer.data.image_paths import is_data_file, sub_folders
from nommer.errors import InputError

Rows = list[list[str]]


def find_class_list(root: Path) -> Path | None:
    """Return the list of classes in a folder of data, or in one of its split folders."""
    places = [root, *(folder for folder in sub_folders(root) if split_of(folder.name))]
    files = (place / name for name in _READERS for place in places)
    return next((file for file in files if is_data_file(file)), None)


def read_class_list(source: Source, file: Path) -> MaskClasses:
    """Read the classes that a label tool lists.

    Raises:
        InputError: a list that is not understood.
    """
    text = source.content(file).decode("utf-8-sig", "replace")
    delimiter = ":" if file.suffix == ".txt" else ","
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    try:
        return _READERS[file.name](rows)
    except (ValueError, IndexError, InputError) as error:
        raise InputError(
            f"{file}: this list of classes is not understood ({error}); correct it, or write a "
            "classes.yaml, which counts more"
        ) from error


def _label_map(rows: Rows) -> MaskClasses:
    classes = [
        MaskClass(row[0], value, _colour(row[1].split(","))) for value, row in enumerate(rows)
    ]
    return MaskClasses(tuple(classes), by_colour=True)


def _names(rows: Rows) -> MaskClasses:
    names = [row[0] for row in rows if row[0] != "__ignore__"]
    return MaskClasses(tuple(MaskClass(name, value) for value, name in enumerate(names)))


def _pixel_values(rows: Rows) -> MaskClasses:
    return MaskClasses(tuple(MaskClass(row[1], int(row[0])) for row in rows[1:]))


def _class_dict(rows: Rows) -> MaskClasses:
    classes = [MaskClass(row[0], value, _colour(row[1:4])) for value, row in enumerate(rows[1:])]
    return MaskClasses(tuple(classes), by_colour=True)


def _colour(cells: list[str]) -> tuple[int, int, int]:
    red, green, blue = map(int, cells)
    return red, green, blue


_READERS: dict[str, Callable[[Rows], MaskClasses]] = {
    "labelmap.txt": _label_map,
    "class_names.txt": _names,
    "_classes.csv": _pixel_values,
    "class_dict.csv": _class_dict,
}
