"""The classes of masks: what tells each, and those of data sets that are known."""

import colorsys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from nommer.data.image_paths import is_data_file
from nommer.data.masks import IGNORE, Colour, MaskEncoding
from nommer.data.parsing import read_text
from nommer.errors import InputError
from nommer.shown import quote


@dataclass(frozen=True)
class MaskClass:
    """One class: its name, and by what its pixels are known."""

    name: str
    value: int
    colour: Colour | None = None


@dataclass(frozen=True)
class MaskClasses:
    """The classes of a data set, in order, and what is ignored.

    Raises:
        InputError: classes that cannot be told apart, or too many.
    """

    classes: tuple[MaskClass, ...]
    ignored_values: tuple[int, ...] = (IGNORE,)
    ignored_colours: tuple[Colour, ...] = ()
    by_colour: bool = False
    """Grey and palette images are read by their colours too, not by their values."""
    ignores_255_by_default: bool = False
    """Value 255 is ignored because nobody said otherwise."""

    def __post_init__(self) -> None:
        if len(self.classes) > IGNORE:
            raise InputError(
                f"found {len(self.classes)} classes; at most {IGNORE} are possible, a label being "
                "one byte"
            )
        values = [entry.value for entry in self.classes]
        colours = [entry.colour for entry in self.classes if entry.colour]
        _check_unique("name", [entry.name for entry in self.classes])
        _check_unique("value", [*values, *self.ignored_values])
        _check_unique("color", [*colours, *self.ignored_colours])

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(entry.name for entry in self.classes)

    def encoding(self, names: Sequence[str]) -> MaskEncoding:
        """The encoding whose labels index `names`, which hold every class."""
        values = {entry.value: names.index(entry.name) for entry in self.classes}
        values |= dict.fromkeys(self.ignored_values, IGNORE)
        colours = {entry.colour: names.index(entry.name) for entry in self.classes if entry.colour}
        colours |= dict.fromkeys(self.ignored_colours, IGNORE)
        return MaskEncoding(
            {} if self.by_colour else values,
            colours if all(entry.colour for entry in self.classes) else {},
            by_colour=self.by_colour,
            ignores_255_by_default=self.ignores_255_by_default and not self.by_colour,
        )

    def colours(self, names: Sequence[str]) -> tuple[Colour, ...]:
        """A colour for each of `names`: the class's own, or one that no other has."""
        own = {entry.name: entry.colour for entry in self.classes if entry.colour}
        spare = (colour for colour in palette() if colour not in own.values())
        return tuple(own.get(name) or next(spare) for name in names)


def _check_unique(what: str, found: Sequence[Any]) -> None:
    twice = next((item for number, item in enumerate(found) if item in found[:number]), None)
    if twice is not None:
        raise InputError(
            f"{what} {quote(twice)} stands for two things; every class, and what is ignored, needs "
            "its "
            "own"
        )


def palette() -> Iterator[Colour]:
    """A fixed, endless row of distinct colours, neighbours far apart; none is black or white."""
    seen = set()
    for number in count():
        saturation, value = ((0.75, 0.95), (0.55, 0.75), (0.9, 0.6), (0.4, 0.95))[number // 8 % 4]
        red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, saturation, value)
        colour = round(255 * red), round(255 * green), round(255 * blue)
        if colour not in seen:
            seen.add(colour)
            yield colour


_CAMVID: dict[str, Colour] = {
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Pole": (192, 192, 128),
    "Road": (128, 64, 128),
    "Pavement": (60, 40, 222),
    "Tree": (128, 128, 0),
    "SignSymbol": (192, 128, 128),
    "Fence": (64, 64, 128),
    "Car": (64, 0, 128),
    "Pedestrian": (64, 64, 0),
    "Bicyclist": (0, 128, 192),
}

CAMVID = MaskClasses(
    tuple(MaskClass(name, value, colour) for value, (name, colour) in enumerate(_CAMVID.items())),
    ignored_values=(len(_CAMVID),),
)
"""CamVid's 11 classes as the SegNet tutorial numbers them, the twelfth (unlabelled) ignored."""


_CITYSCAPES = {
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}

CITYSCAPES = MaskClasses(
    tuple(MaskClass(name, value, colour) for name, (value, colour) in _CITYSCAPES.items()),
    ignored_values=(
        *sorted(set(range(34)) - {value for value, _ in _CITYSCAPES.values()}),
        IGNORE,
    ),
)
"""Cityscapes's 19 classes that are evaluated, by their ids; the other ids are ignored.

Source: cityscapesScripts, helpers/labels.py.
"""


def ade20k_classes(root: Path) -> MaskClasses | None:
    """ADE20K's, as `objectInfo150.txt` names them, 0 ignored; None where that file is absent.

    Raises:
        InputError: the file is not understood.
    """
    file = root / "objectInfo150.txt"
    if not is_data_file(file):
        return None
    lines = read_text(file, errors="replace").splitlines()[1:]
    rows = [line.split("\t") for line in lines if line.strip()]
    try:
        classes = tuple(MaskClass(row[-1].split(",")[0].strip(), int(row[0])) for row in rows)
    except ValueError as error:
        raise InputError(
            f"{file}: expected the columns Idx, Ratio, Train, Val, Name between tabs: {error}"
        ) from error
    return MaskClasses(classes, ignored_values=(0,))


def numbered_classes(values: Iterable[int], *, ignored: int) -> MaskClasses:
    """A class for every value, in order, named after it."""
    classes = tuple(MaskClass(f"class {value}", value) for value in sorted(values))
    return MaskClasses(classes, (ignored,), ignores_255_by_default=ignored == IGNORE)
