"""Lines of YOLO's label files: a class number, and a box or a polygon behind it.

Other things are written behind the class too: a confidence and a track number by those who save
predictions, key points by those who learn poses. No number tells which it is, so what may be
either is refused, by looking at all lines of the data; `confidences: true` in `data.yaml`, as
`predict --as-data` writes it, tells that a score ends every line.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from nommer.data.formats.objects import to_number

_VISIBILITY = (0.0, 1.0, 2.0)
_TELLING_LINES = 8
"""Lines of four points that must all look like a box with key points to be taken for that."""
_CORNERS = 8
"""Numbers of an oriented box (OBB): its four corners in turn."""
_SLIP = 2e-3
"""Largest share of a side by which the corners of a rectangle miss it, as they are rounded."""
_FARTHEST = 2.0
"""Largest distance from the image of a point of a polygon, in sides; beyond it is no share."""


@dataclass(frozen=True)
class Line:
    """A line that is not blank."""

    number: int
    category: str
    values: tuple[float, ...]


def parse_lines(text: str) -> list[Line]:
    """Return the lines of a label file, their numbers counted from 1."""
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            category, *values = line.split()
            lines.append(Line(number, category, tuple(map(to_number, values))))
    return lines


def without_score(line: Line) -> Line:
    """Return a line without the score that stands behind its box or polygon, if there is one.

    Boxes have four numbers and polygons pairs, so an odd number of them has a score, 0 to 1; where
    it is no share, the line stays as it is, and is refused as others are.
    """
    if len(line.values) % 2 and 0 <= line.values[-1] <= 1:
        return replace(line, values=line.values[:-1])
    return line


class Shapes:
    """The meaning of the numbers behind the class, found in all lines of the data."""

    def __init__(self, lines: Iterable[Line]) -> None:
        longer = [line.values for line in lines if len(line.values) >= 6]
        many = [values for values in longer if len(values) >= 8 and len(values) % 2 == 0]
        are_rectangles = bool(many) and all(map(_is_parallelogram, longer))
        self.are_oriented = are_rectangles and not all(map(_is_upright, longer))
        """All are turned rectangles, as YOLO's oriented boxes (OBB) are."""
        self.have_key_points = bool(many) and not are_rectangles and (_seen(many) or _inside(many))
        self.have_polygons = bool(many) and not self.have_key_points

    def fault(self, values: Sequence[float]) -> str:
        """Return why the numbers are no box and no polygon, "" where they are."""
        count = len(values)
        behind = f"{count} numbers behind the class"
        if count < 4 or count % 2:
            return f"{behind}, expected 4 of a box or those of a polygon{_hint(values)}"
        if count == 4:
            return ""
        far = [value for value in values if abs(value) > _FARTHEST]
        if far:
            return (
                f"{behind}, and {far[0]:g} is no share of a side; remove confidences and track "
                "numbers, or describe key points by kpt_shape"
            )
        if count == 6 and not self.have_polygons:
            return (
                f"{behind} may be a polygon of 3 points, or a box with confidence and track "
                "number; remove the last two if it is a box"
            )
        if self.have_key_points:
            return (
                f"{behind} may be a polygon, or a box with key points; write kpt_shape into "
                "data.yaml if these are key points"
            )
        return ""


def _hint(values: Sequence[float]) -> str:
    """Return what numbers may be that are of no box and no polygon."""
    points, rest = divmod(len(values) - 4, 3)
    if points > 0 and not rest and all(value in _VISIBILITY for value in values[6::3]):
        return f"; if they are a box with key points, write kpt_shape: [{points}, 3] into data.yaml"
    if len(values) == _CORNERS + 1:
        return "; remove the last if it is the confidence of an oriented box or a polygon"
    return "; remove the last if it is a confidence or a track number" if len(values) > 4 else ""


def _is_parallelogram(values: Sequence[float]) -> bool:
    """Tell if four corners are those of a rectangle, which shares of the sides may make slant."""
    if len(values) != _CORNERS:
        return False
    x, y = values[::2], values[1::2]
    return all(abs(c[0] + c[2] - c[1] - c[3]) <= 2 * _SLIP for c in (x, y))


def _is_upright(values: Sequence[float]) -> bool:
    """Tell if the first side of four corners is a row or a column of the image."""
    return min(abs(values[0] - values[2]), abs(values[1] - values[3])) <= _SLIP


def _seen(lines: Sequence[Sequence[float]]) -> bool:
    """Tell if every third number behind a box is a key point's visibility, in all lines."""
    return all(
        len(values) % 3 == 1 and all(value in _VISIBILITY for value in values[6::3])
        for values in lines
    )


def _inside(lines: Sequence[Sequence[float]]) -> bool:
    """Tell if the first four numbers are a box that holds all points behind, in all lines."""
    counts = Counter(map(len, lines))
    few = len(lines) < (_TELLING_LINES if min(counts) == 8 else 2)
    return len(counts) == 1 and not few and all(map(_holds_points, lines))


def _holds_points(values: Sequence[float]) -> bool:
    x, y, width, height = values[:4]
    across = all(abs(value - x) <= width / 2 for value in values[4::2])
    return across and all(abs(value - y) <= height / 2 for value in values[5::2])
