"""Folders that are no classes, though images lie in them.

Any folder of folders could be classes. Images beside their masks, and images beside files with
boxes, are not: a network that learns the folders' names tells pictures from masks. Such folders
are refused, with the reason; `--labels.format folders` takes them for classes all the same.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path

from nommer.data.formats.folder_names import (
    ALL_FOLDERS,
    MASK_FOLDERS,
    kind_of,
    split_and_kind,
    split_and_rest,
)
from nommer.data.formats.labelled import Issue, problem, split_of
from nommer.data.formats.mask_layouts import paired_in
from nommer.data.formats.mask_looks import looks_like_mask
from nommer.data.formats.mask_places import MASK_ENDINGS
from nommer.data.formats.unread import find_unread, looks_like_yolo
from nommer.data.image_paths import UNREAD_EXTENSIONS, is_image_name, sub_folders, visible_files
from nommer.data.images import ImageError, image_errors, open_image
from nommer.data.parsing import head_of
from nommer.errors import InputError
from nommer.files import is_dir

_MOST_FOLDERS = 12
"""Folders of which pairs are compared: more are hardly images and masks."""
_LOOKED_AT = 5
"""Images of a folder that are opened."""
_SHARED = 0.8
"""Share of names in common from which two folders are compared."""
_TELLING_NAMES = 10
"""Names in common that are no mere numbering, from which on they cannot be chance."""

_SIDECARS = (".txt", ".xmp", ".thm", ".aae", ".md", ".html", *UNREAD_EXTENSIONS)
"""Files beside images that hold words, or the photograph in another form, but no places."""

_ADVICE = "if these are classes, say --labels.format folders"

_KINDS = ("grey or palette", "flat-coloured")

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
    _check_splits(folder, list(found))
    for name, files in found.items():
        _check_labels_beside(folder / name, files)
        _check_inside(folder / name)
        _check_kinds_inside(folder / name, files)
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


def _check_splits(folder: Path, names: Sequence[str]) -> None:
    """Refuse one class that is called by two splits, as `train_cat` and `test_cat` are."""
    seen: dict[str, tuple[str, str]] = {}
    for name in names:
        split, rest = split_and_rest(name)
        if split is None or not rest:
            continue
        other = seen.setdefault(rest, (split, name))
        if other[0] != split:
            raise InputError(
                f"{folder}: folders {other[1]} and {name} look like splits of one class or of all, "
                "not like classes; put a folder train and a folder val above the class folders; "
                f"{_ADVICE}"
            )


def _check_inside(folder: Path) -> None:
    """Refuse a class folder that holds splits, or masks of its images."""
    splits = [child.name for child in sub_folders(folder) if split_of(child.name)]
    if len(splits) > 1:
        raise InputError(
            f"{folder}: holds the folders {', '.join(splits)}, which are splits; put these above "
            f"the class folders, as in {splits[0]}/{folder.name}; {_ADVICE}"
        )
    if is_dir(folder) and (ending := paired_in(folder)):
        raise InputError(
            f"{folder}: holds images beside which lie others called {ending} behind the same name, "
            f"as masks are; move these away, or lay them out for segmentation; {_ADVICE}"
        )


def _check_kinds_inside(folder: Path, files: Sequence[Path]) -> None:
    """Refuse a class folder that holds a folder of images and one of their masks."""
    below: Folders = defaultdict(list)
    for file in files:
        if file.parent != folder:
            below[file.relative_to(folder).parts[0]].append(file)
    if 1 < len(below) <= _MOST_FOLDERS:
        _check_usual_names(folder, list(below))
        _check_masks(folder, below)


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
    text = head_of(file, 1 << 16)
    if file.suffix == ".txt":
        return looks_like_yolo(text)
    if file.suffix == ".xml":
        return "<annotation" in text and "<object" in text
    return '"shapes"' in text or '"bbox"' in text or '"objects"' in text or '"annotations"' in text


def _check_masks(folder: Path, found: Folders) -> None:
    """Refuse a folder of what looks like masks beside one of what does not."""
    looks = {
        name: [looks_like_mask(path) for path in files[:_LOOKED_AT]]
        for name, files in found.items()
    }
    masks = [name for name, flags in looks.items() if flags and all(flags)]
    others = [name for name, flags in looks.items() if flags and not any(flags)]
    for mask, other in product(masks, others):
        if "grey" not in looks[mask] and not _same_sizes(found[mask], found[other]):
            continue  # drawings beside photographs are classes
        if "JPEG" in looks[mask] and len(_shared(found[mask], found[other])) < 2:
            continue
        raise InputError(
            f"{folder}: {mask} holds {_KINDS['grey' not in looks[mask]]} images of a few values, "
            f"as masks are, and {other} does not; call the folders images and masks if they are, "
            f"with masks named like their images; {_ADVICE}"
        )


def _check_pairs(folder: Path, found: Folders) -> None:
    """Refuse folders whose files belong to each other, as images and their masks do."""
    _check_masks(folder, found)
    for first, second in combinations(sorted(found), 2):
        shared = _shared(found[first], found[second])
        if len(shared) >= 2 and (
            _one_is_called_masks(first, second)
            or _are_telling(list(shared))
            or _vary_together(shared)
        ):
            raise InputError(
                f"{folder}: {first} and {second} hold {len(shared)} files of the same names, such "
                f"as {next(iter(shared))}, as images and their masks do; classes do not share "
                f"their images; {_ADVICE}"
            )


def _one_is_called_masks(*names: str) -> bool:
    """Tell if one of two folders is called as masks are; of `mask` and `no_mask` none is."""
    kinds = [kind_of(name) for name in names]
    called = [kind for kind in kinds if kind in MASK_FOLDERS]
    return len(called) == 1 and not all(called[0].rstrip("s") in kind for kind in kinds)


def _same_sizes(first: Sequence[Path], second: Sequence[Path]) -> bool:
    """Tell if the first images of two folders are of the same sizes."""
    own, other = ({_size(path) for path in files[:_LOOKED_AT]} for files in (first, second))
    return own == other


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


def image_files(folder: Path) -> list[Path]:
    """Return the image files in a folder, searched deeply."""
    return [path for path in visible_files(folder) if is_image_name(path)]


def find_unknown_labels(
    folder: Path, images: Sequence[Path], others: Sequence[Path]
) -> list[Issue]:
    """Tell of files that lie beside most images under the same names, and may be labels."""
    bases = {path.with_suffix("") for path in images}
    beside: dict[str, list[Path]] = defaultdict(list)
    for path in others:
        if path.with_suffix("") in bases and path.suffix.lower() not in _SIDECARS:
            beside[path.suffix.lower()].append(path)
    return [
        problem(
            folder,
            f"{len(paths)} of {len(images)} images have a file {ending} beside them, such as "
            f"{paths[0].name}, which is not read",
            "left out; if these are labels of what is in the images, export COCO from their tool",
        )
        for ending, paths in beside.items()
        if 2 * len(paths) >= len(images)
    ]
