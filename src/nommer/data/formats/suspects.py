"""Folders that are no classes, though images lie in them.

Any folder of folders could be classes. Images beside their masks, and images beside files with
boxes, are not: a network that learns the folders' names tells pictures from masks. Such folders
are refused, with the reason; `--labels.format folders` takes them for classes all the same.
"""

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from nommer.data.formats.folder_names import ALL_FOLDERS, kind_of, split_and_kind
from nommer.data.formats.mask_layouts import MASK_ENDINGS
from nommer.data.formats.unread import find_unread, looks_like_yolo
from nommer.data.image_paths import is_image_name, visible_files
from nommer.data.images import ImageError, image_errors, open_image
from nommer.errors import InputError

_MOST_FOLDERS = 12
"""Folders of which pairs are compared: more are hardly images and masks."""
_LOOKED_AT = 5
"""Images of a folder that are opened."""
_SHARED = 0.8
"""Share of names in common from which two folders are compared."""
_TELLING_NAMES = 10
"""Names in common that are no mere numbering, from which on they cannot be chance."""
_FEW_VALUES = 32
_GREY_MODES = ("1", "L", "P", "I;16", "I")

_ADVICE = "if these are classes, say --labels.format folders"

Folders = dict[str, list[Path]]
"""The image files in each folder."""


def check_class_folders(root: Path, folder: Path, found: Folders) -> None:
    """Refuse folders that are no classes.

    Args:
        root: the data.
        folder: that the class folders lie in.
        found: their image files, by the folders' names.

    Raises:
        InputError: the reason, and what to do.
    """
    if root.is_dir() and (unread := find_unread(root)) is not None:
        raise InputError(f"{root}: {unread}; {_ADVICE}")
    _check_usual_names(folder, list(found))
    for name, files in found.items():
        _check_labels_beside(folder / name, files)
    if len(found) <= _MOST_FOLDERS:
        _check_pairs(folder, found)


def _check_usual_names(folder: Path, names: Sequence[str]) -> None:
    usual = [name for name in names if kind_of(name) in ALL_FOLDERS or _is_part(name)]
    if len(usual) > 1 and 2 * len(usual) >= len(names):
        raise InputError(
            f"{folder}: folders {', '.join(usual)} look like detection or segmentation data, not "
            f"like classes; {_ADVICE}"
        )


def _is_part(name: str) -> bool:
    """Tell if a folder is images or masks of a split, as `train_images` is."""
    split, kind = split_and_kind(name)
    return split is not None and kind in ALL_FOLDERS


def _check_labels_beside(folder: Path, images: Sequence[Path]) -> None:
    """Refuse images beside which files of the same names hold boxes."""
    for image in images[:_LOOKED_AT]:
        for ending in (".txt", ".xml", ".json"):
            file = image.with_suffix(ending)
            if file.is_file() and _holds_labels(file):
                raise InputError(
                    f"{folder}: {file.name} beside {image.name} holds labels of what is in the "
                    f"image, so the folder is no class; lay the data out as a format that is read, "
                    f"or move these files away; {_ADVICE}"
                )


def _holds_labels(file: Path) -> bool:
    with file.open("rb") as stream:
        text = stream.read(1 << 16).decode("utf-8-sig", errors="replace")
    if file.suffix == ".txt":
        return looks_like_yolo(text)
    if file.suffix == ".xml":
        return "<annotation" in text and "<object" in text
    return '"shapes"' in text or '"bbox"' in text or '"objects"' in text or '"annotations"' in text


def _check_pairs(folder: Path, found: Folders) -> None:
    """Refuse folders whose files belong to each other, as images and their masks do."""
    looks = {
        name: [_looks_like_mask(path) for path in files[:_LOOKED_AT]]
        for name, files in found.items()
    }
    masks = [name for name, flags in looks.items() if flags and all(flags)]
    others = [name for name, flags in looks.items() if flags and not any(flags)]
    if masks and others:
        raise InputError(
            f"{folder}: {masks[0]} holds grey or palette images of a few values, as masks are, "
            f"and {others[0]} does not; call the folders images and masks if they are, with "
            f"masks named like their images; {_ADVICE}"
        )
    for first, second in combinations(sorted(found), 2):
        shared = _shared(found[first], found[second])
        if len(shared) >= 2 and (_are_telling(list(shared)) or _vary_together(shared)):
            raise InputError(
                f"{folder}: {first} and {second} hold {len(shared)} files of the same names, such "
                f"as {next(iter(shared))}, as images and their masks do; classes do not share "
                f"their images; {_ADVICE}"
            )


def _shared(first: Sequence[Path], second: Sequence[Path]) -> dict[str, tuple[Path, Path]]:
    """Files of two folders by the names that they share; none where that is a small part."""
    own, other = ({_base(path): path for path in files} for files in (first, second))
    both = own.keys() & other.keys()
    few = len(both) < _SHARED * min(len(own), len(other))
    return {} if few else {name: (own[name], other[name]) for name in sorted(both)}


def _base(path: Path) -> str:
    ending = next((ending for ending in MASK_ENDINGS if path.stem.endswith(ending)), "")
    return path.stem.removesuffix(ending)


def _are_telling(names: Sequence[str]) -> bool:
    """Tell if names are more than a numbering, which files of any two classes may share."""
    numbered = [name for name in names if re.fullmatch(r"\D*\d{1,6}\D{0,3}", name)]
    return len(names) - len(numbered) >= _TELLING_NAMES


def _vary_together(shared: dict[str, tuple[Path, Path]]) -> bool:
    """Tell if images have sizes of their own, and those of one name the same."""
    sizes = [tuple(map(_size, pair)) for pair in list(shared.values())[: 2 * _LOOKED_AT]]
    return len(set(sizes)) > 2 and all(one == other and one for one, other in sizes)


def _size(path: Path) -> tuple[int, int] | None:
    try:
        with image_errors(path), open_image(path) as image:
            return image.size
    except ImageError:
        return None


def _looks_like_mask(path: Path) -> bool:
    """Tell if an image is grey or has a palette, and holds but a few values, with more than one."""
    try:
        with image_errors(path), open_image(path) as image:
            if image.mode not in _GREY_MODES or image.format == "JPEG":
                return False
            return 1 < len(np.unique(np.asarray(image))) <= _FEW_VALUES
    except ImageError:
        return False


def image_files(folder: Path) -> list[Path]:
    """Return the image files in a folder, searched deeply."""
    return [path for path in visible_files(folder) if is_image_name(path)]
