"""Objects in labelme's JSON: one file per image, beside it or in a folder of its own.

Polygons, circles and rectangles, turned ones too, are read; shapes of one label
and one `group_id` are one object. Points and lines enclose nothing, and are dropped.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nommer.data.archives import read_bytes
from nommer.data.formats.described import (
    DescribedImage,
    NamedObject,
    collect_described,
    without_file,
)
from nommer.data.formats.folder_names import IMAGE_FOLDERS, kind_of
from nommer.data.formats.image_files import UNKNOWN_SIZE
from nommer.data.formats.json_files import look_into
from nommer.data.formats.labelled import Issue, Split, problem, shorten, split_of
from nommer.data.formats.objects import Box, DetectionFolders, to_id, to_number
from nommer.data.formats.source import Source
from nommer.data.image_paths import direct_files, is_data_file, is_image_name, sub_folders
from nommer.data.parallel import read_all
from nommer.data.parsing import parse_json
from nommer.errors import InputError
from nommer.shown import quote

LAYOUTS = "  DATA/*.jpg and DATA/*.json, or DATA/train/*.json   (labelme; JSON beside the images)"

_JSON_FOLDERS = ("annotations", "annotation", "labels", "label", "json", "jsons", "ann")
_LOOKED_AT = 5
_TURNED = "rotation"
"""X-AnyLabeling's turned rectangle, by its four corners."""
_CORNERS = 32
"""Of the polygon that a circle becomes."""


def find_places(source: Source) -> dict[Split, tuple[Path, Path]]:
    """The folders of images and of JSON files, by split; nothing where there are none."""
    root = source.root
    if place := _place_in(source, root):
        return {"train": place}
    found: dict[Split, tuple[Path, Path]] = {}
    for folder in sub_folders(root):
        split = split_of(folder.name)
        if split and (place := _place_in(source, folder)):
            found.setdefault(split, place)
    return found


def _place_in(source: Source, folder: Path) -> tuple[Path, Path] | None:
    if _holds_labelme(source, folder):
        return folder, folder
    by_name = {kind_of(child.name): child for child in reversed(sub_folders(folder))}
    images = next((by_name[name] for name in IMAGE_FOLDERS if name in by_name), None)
    files = (by_name[name] for name in _JSON_FOLDERS if name in by_name)
    fitting = (place for place in files if _holds_labelme(source, place))
    return None if images is None else next(((images, place) for place in fitting), None)


def _holds_labelme(source: Source, folder: Path) -> bool:
    files = [path for path in direct_files(folder) if path.suffix.lower() == ".json"]
    files = list(filter(is_data_file, files))
    return any(source.once(look_into, path).kind == "labelme" for path in files[:_LOOKED_AT])


def read_labelme(source: Source) -> DetectionFolders:
    """Read the JSON file of every image.

    The classes are the labels that occur, sorted; their ids count from 1.

    Raises:
        InputError: no images with such files.
    """
    root, places = source.root, source.once(find_places)
    if not places:
        raise InputError(f"{root}: found no images with labelme's JSON; accepted are\n{LAYOUTS}")
    issues: list[Issue] = []
    splits: dict[Split, Sequence[DescribedImage]] = {}
    for split, (images, folder) in places.items():
        found = [
            DescribedImage(path, folder / f"{path.stem}.json")
            for path in direct_files(images)
            if is_image_name(path)
        ]
        splits[split] = read_all(partial(_read, source), found, what="reading annotations")
        files = {path for path in direct_files(folder) if path.suffix.lower() == ".json"}
        strays = files - {image.file for image in found}
        issues += [
            problem(path, "annotation without an image", "left out") for path in sorted(strays)
        ]
    return collect_described(root, splits, issues)


def _read(source: Source, image: DescribedImage) -> DescribedImage:
    if not is_data_file(image.file):
        return without_file(image)
    try:
        content = _load(source, image.file)
        shapes = content["shapes"]
        groups = _groups(shapes)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return replace(
            image, error=f"its annotation {image.file} cannot be read: {quote(str(error))}"
        )
    width, height = to_id(content.get("imageWidth")), to_id(content.get("imageHeight"))
    size = (width, height) if width and height and min(width, height) > 0 else UNKNOWN_SIZE
    objects, issues = [], _about_flags(image.file, content)
    for numbers, group in groups:
        item = _object(group, f"shape {', '.join(map(str, numbers))}")
        if isinstance(item, str):
            issues.append(problem(image.file, f"shape {numbers[0]}: {item}", "dropped"))
        else:
            objects.append(item)
    return replace(image, size=size, objects=tuple(objects), issues=tuple(issues))


def _about_flags(file: Path, content: dict[str, Any]) -> list[Issue]:
    """Tell of flags of a whole image that has no shapes, as labelme classifies images."""
    flags = content.get("flags")
    chosen = [name for name in flags if flags[name] is True] if isinstance(flags, dict) else []
    if not chosen or content["shapes"]:
        return []
    what = f"flags {shorten(chosen)} are of the whole image, and not read"
    return [problem(file, what, "no objects; write a table with columns path and label")]


def _load(source: Source, file: Path) -> Any:
    found = source.once(look_into, file)
    return found.parse() if found.kind == "labelme" else parse_json(read_bytes(file))


def _groups(shapes: list[dict[str, Any]]) -> list[tuple[list[int], list[dict[str, Any]]]]:
    """Shapes that are one object together, and their numbers, counted from 1."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for number, shape in enumerate(shapes, start=1):
        group = shape.get("group_id")
        key = ("alone", number) if group is None else (str(shape["label"]), str(group))
        groups[key].append(number)
    return [(numbers, [shapes[n - 1] for n in numbers]) for numbers in groups.values()]


def _object(group: list[dict[str, Any]], where: str) -> NamedObject | str:
    """The object of some shapes, or why there is none."""
    name, polygons = str(group[0].get("label") or ""), []
    for shape in group:
        kind = shape.get("shape_type") or "polygon"
        points = [(to_number(x), to_number(y)) for x, y in shape.get("points", [])]
        if kind == "rectangle" and len(group) == 1 and len(points) >= 2:
            return NamedObject(name, _around(points), where=where)
        if kind == "rectangle" and len(points) == 2:
            (left, upper), (right, lower) = points
            points = [(left, upper), (right, upper), (right, lower), (left, lower)]
        elif kind == "circle" and len(points) == 2:
            points = _circle(*points)
        elif kind not in ("polygon", "rectangle", _TURNED):
            return f"{quote(name)} is a {quote(kind)}, which encloses nothing"
        polygons.append([value for point in points for value in point])
    corners = [
        pair for polygon in polygons for pair in zip(polygon[::2], polygon[1::2], strict=True)
    ]
    return NamedObject(name, _around(corners) if corners else None, polygons, where=where)


def _around(points: Sequence[tuple[float, float]]) -> Box:
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _circle(centre: tuple[float, float], edge: tuple[float, float]) -> list[tuple[float, float]]:
    radius = math.dist(centre, edge)
    angles = [2 * math.pi * number / _CORNERS for number in range(_CORNERS)]
    return [
        (centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle))
        for angle in angles
    ]
