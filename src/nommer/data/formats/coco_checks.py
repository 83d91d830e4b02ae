"""Boxes of a whole COCO file that are written in another way than COCO's."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nommer.data.formats.labelled import Issue, problem
from nommer.data.formats.object_masks import TOLERANCE
from nommer.data.formats.objects import to_id, to_number

Four = tuple[float, float, float, float]
Placed = tuple[Four, tuple[float, float]]
"""The four numbers of a box, and the size of its image."""

_MANY = 0.1
"""Share of boxes that must reach outside their images for another reading to be likely."""


def check_boxes(path: Path, content: dict[str, Any]) -> list[Issue]:
    """Return what all boxes of a file together tell of the way in which they are written."""
    boxes = list(_boxes(content))
    if not boxes:
        return []
    if all(max(box) <= 1 for box, _ in boxes):
        what = (
            f"its {len(boxes)} boxes are shares of the image's sides, such as {list(boxes[0][0])}"
        )
        return [problem(path, what, "taken for pixels; multiply them by width and height")]
    outside = sum(not _is_inside(_as_coco(box), size) for box, size in boxes)
    if outside <= _MANY * len(boxes):
        return []
    for name, read in _READINGS.items():
        if all(_is_inside(read(box), size) for box, size in boxes):
            what = f"{outside} of {len(boxes)} boxes reach outside their images, and none would if "
            what += f"they were {name}"
            done = "taken for left, upper, width, height, as COCO has them; correct the file"
            return [problem(path, what, done)]
    return []


def _boxes(content: dict[str, Any]) -> Iterable[Placed]:
    """Yield the boxes of four numbers in images whose size is told."""
    sizes = {
        to_id(image.get("id")): (to_number(image.get("width")), to_number(image.get("height")))
        for image in content["images"]
    }
    for entry in content["annotations"]:
        box, size = entry.get("bbox"), sizes.get(to_id(entry.get("image_id")))
        if not isinstance(box, list) or len(box) != 4 or size is None or not min(size) > 1:
            continue
        left, upper, width, height = map(to_number, box)
        if width > 0 and height > 0:
            yield (left, upper, width, height), size


def _is_inside(corners: Four, size: tuple[float, float]) -> bool:
    left, upper, right, lower = corners
    over = max(-left / size[0], -upper / size[1], right / size[0] - 1, lower / size[1] - 1)
    return over <= TOLERANCE and left < right and upper < lower


def _as_coco(box: Four) -> Four:
    left, upper, width, height = box
    return left, upper, left + width, upper + height


def _as_corners(box: Four) -> Four:
    return box


def _as_centre(box: Four) -> Four:
    x, y, width, height = box
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


_READINGS: dict[str, Callable[[Four], Four]] = {
    "corners (left, upper, right, lower)": _as_corners,
    "centres with width and height": _as_centre,
}
