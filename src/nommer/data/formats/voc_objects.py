"""Objects in VOC's XML, and in that of LabelMe 3.0, which has polygons in the place of boxes.

LabelMe's web tool and CVAT's "LabelMe 3.0" write the latter; a polygon of the type bounding_box has
no mask.
"""

from pathlib import Path
from xml.etree import ElementTree

from nommer.data.formats.described import NamedObject
from nommer.data.formats.labelled import Issue, problem
from nommer.data.formats.objects import to_number

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FEWEST_POINTS = 3


def read_objects(
    tree: ElementTree.Element, file: Path, *, ignores: bool
) -> tuple[tuple[NamedObject, ...], tuple[Issue, ...]]:
    """Return the objects that a file describes, and what is dropped.

    Args:
        tree: the file's content.
        file: for the issues.
        ignores: objects that are marked difficult are neither learned nor evaluated.
    """
    objects, issues = [], []
    for number, entry in enumerate(tree.iter("object"), start=1):
        where = f"object {number}"
        item = _labelme(entry, where) if _is_labelme(entry) else _voc(entry, where, ignores)
        if isinstance(item, str):
            issues.append(problem(file, f"{where} {item}", "dropped"))
        elif _text(entry, "deleted") != "1":  # in LabelMe, which keeps them in the file
            objects.append(item)
    return tuple(objects), tuple(issues)


def _voc(entry: ElementTree.Element, where: str, ignores: bool) -> NamedObject:
    left, upper, right, lower = (to_number(_text(entry, f"bndbox/{name}")) for name in _CORNERS)
    difficult = _text(entry, "difficult") == "1"
    box = left, upper, right, lower
    return NamedObject(
        entry.findtext("name") or "", box, ignored=difficult and ignores, where=where
    )


def _is_labelme(entry: ElementTree.Element) -> bool:
    """Tell if an object is outlined or painted, without VOC's box."""
    parts = (entry.find("polygon/pt"), entry.find("segm"))
    return entry.find("bndbox") is None and any(part is not None for part in parts)


def _labelme(entry: ElementTree.Element, where: str) -> NamedObject | str:
    """Return an object of LabelMe's, or why there is none."""
    points = [
        (to_number(_text(point, "x")), to_number(_text(point, "y")))
        for point in entry.iterfind("polygon/pt")
    ]
    if not points:
        return "is painted in LabelMe, whose files of masks are not read"
    if len(points) < _FEWEST_POINTS:
        return f"has {len(points)} points, which enclose nothing"
    xs, ys = zip(*points, strict=True)
    box = min(xs), min(ys), max(xs), max(ys)
    upright = _text(entry, "type") == "bounding_box"
    polygons = None if upright else [[value for point in points for value in point]]
    name = entry.findtext("name") or ""
    return NamedObject(name, box, polygons, where=where, between_pixels=True)


def _text(entry: ElementTree.Element, name: str) -> str:
    return (entry.findtext(name) or "").strip()
