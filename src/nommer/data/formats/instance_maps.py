"""Objects as instance maps.

Images whose pixels hold 0, or the number of the object that they belong to.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nommer.data.formats.class_file import CLASS_FILES, find_class_file, load_class_file
from nommer.data.formats.image_files import UNKNOWN_SIZE, upright_size
from nommer.data.formats.labelled import Split
from nommer.data.formats.mask_layouts import find_layout
from nommer.data.formats.mask_pairs import MaskSample, pair_parts
from nommer.data.formats.mask_places import Layout
from nommer.data.formats.object_masks import box_of, encode_map
from nommer.data.formats.objects import DetectionFolders, DetectionSample, Objects
from nommer.data.formats.source import Source
from nommer.data.image_paths import is_image_name, is_there, visible_files
from nommer.data.images import ImageError, image_errors, open_image
from nommer.data.masks import read_pixels
from nommer.data.parallel import read_all
from nommer.errors import InputError
from nommer.shown import quote

LAYOUTS = """\
  DATA/images/*.png and DATA/labels/*.png of 16 bits   (maps of instances; maybe with lists)
  as for semantic segmentation, where classes.yaml says instances: true"""

_LOOKED_AT = 3


def find_maps(source: Source) -> Layout | None:
    """Return where images and instance maps lie, or None where there are none.

    They are told from masks of classes by `instances: true` in the class file (the one that was
    named, or else the one in the folder); without one, by 16-bit files in folders called labels.
    """
    layout = source.once(find_layout)
    if layout is None:
        return None
    file = source.classes or find_class_file(source.root)
    if file is not None:
        content = source.once(load_class_file, file)
        return layout if isinstance(content, dict) and content.get("instances") is True else None
    if layout.instances:
        return layout
    folders = {part.masks for part in layout.parts.values()}
    called_labels = all(
        "labels" in (folder.name.lower(), folder.parent.name.lower()) for folder in folders
    )
    return (
        layout
        if folders and called_labels and all(_is_wide(folder) for folder in folders)
        else None
    )


def _is_wide(folder: Path) -> bool:
    """Tell if the first few images in a folder that can be opened have 16 bits."""
    modes = filter(None, (_mode(path) for path in visible_files(folder) if is_image_name(path)))
    looked_at = list(islice(modes, _LOOKED_AT))
    return bool(looked_at) and all(mode.startswith("I") for mode in looked_at)


def _mode(path: Path) -> str:
    try:
        with image_errors(path), open_image(path) as image:
            return image.mode
    except ImageError:
        return ""


def read_instance_maps(source: Source) -> DetectionFolders:
    """Read the map of every image.

    All objects are of one class, named by the class file or else "object".

    Raises:
        InputError: files or lists that do not fit, or a class file with other than one class.
    """
    root, asked = source.root, source.labels.format == "instance-maps"
    layout = source.once(find_layout) if asked else source.once(find_maps)
    if layout is None:
        raise InputError(f"{root}: found no instance maps; accepted are\n{LAYOUTS}")
    pairs, issues = pair_parts(layout)
    chosen = [pair for part in pairs.values() for pair in part]
    read = dict(
        zip(
            (pair.path for pair in chosen),
            read_all(_read, chosen, what="reading instance maps"),
            strict=True,
        )
    )
    splits: dict[Split, tuple[DetectionSample, ...]] = {}
    number = 1
    for split, part in pairs.items():
        splits[split] = tuple(
            DetectionSample(
                pair.path,
                read[pair.path].objects,
                image_id,
                read[pair.path].size,
                read[pair.path].error,
            )
            for image_id, pair in enumerate(part, start=number)
        )
        number += len(part)
    return DetectionFolders(root, (_class_name(source),), splits, tuple(issues), category_ids=(1,))


def _class_name(source: Source) -> str:
    root = source.root
    file = find_class_file(root)
    content: Any = source.once(load_class_file, file) if file else {}
    names = content.get("classes", content.get("names", ["object"]))
    entries = (
        list(names.values())
        if isinstance(names, dict)
        else names
        if isinstance(names, list)
        else []
    )
    entries = [entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    if len(entries) != 1 or not isinstance(entries[0], str) or not entries[0].strip():
        raise InputError(
            f"{root}: instance maps hold one class, but the class file says {quote(names)}; "
            f"write a {CLASS_FILES[0]} such as\n  instances: true\n  classes: [cell]"
        )
    return entries[0].strip()


@dataclass(frozen=True)
class _Map:
    """Content of one instance map."""

    objects: Objects
    size: tuple[int, int] = UNKNOWN_SIZE
    error: str | None = None


def _read(pair: MaskSample) -> _Map:
    """Read an instance map; the objects are in the order of their numbers."""
    nothing = objects_in(np.zeros((0, 0), np.uint8))
    if not is_there(pair.mask):
        return _Map(nothing, upright_size(pair.path), f"has no instance map: expected {pair.mask}")
    try:
        values = read_pixels(pair.mask).values
    except ImageError as error:
        return _Map(nothing, upright_size(pair.path), f"its instance map {error}")
    return _Map(objects_in(values), values.shape[::-1])


def objects_in(values: np.ndarray) -> Objects:
    """Return the objects of an (H, W) map of their numbers, 0 for none; all have label 0."""
    numbers, areas = np.unique(values[values != 0], return_counts=True)
    masks = encode_map(values)
    return Objects(
        np.array([box_of(mask, values.shape[::-1]) for mask in masks], np.float64).reshape(-1, 4),
        np.zeros(len(numbers), np.int64),
        np.zeros(len(numbers), bool),
        areas.astype(np.float64),
        tuple(masks),
    )
