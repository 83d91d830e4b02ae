"""Masks whose values hardly are classes: palettes that differ, numbers of objects."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import label

from nommer.data.formats.labelled import Issue, problem
from nommer.data.masks import IGNORE, Colour

_OBJECTS_LOOKED_AT = 50
"""Objects in one mask."""
_WHOLE = 0.9
"""Least share of objects that are one piece; others may lie behind each other."""
_FEWEST_OBJECTS = 3
"""Objects in one mask from which on its values may be numbers of objects."""


def palette_of(mask: Image.Image, values: np.ndarray) -> dict[int, Colour]:
    """Return the colours of the values that occur in a mask with a palette; {} without one."""
    palette = mask.getpalette("RGB") if mask.mode == "P" else None
    if not palette:
        return {}
    occurring = [int(value) for value in np.unique(values) if value != IGNORE]
    return {
        value: (palette[3 * value], palette[3 * value + 1], palette[3 * value + 2])
        for value in occurring
        if 3 * value + 2 < len(palette)
    }


def differing_palettes(
    root: Path, palettes: Iterable[tuple[Path, Mapping[int, Colour]]]
) -> list[Issue]:
    """Return an issue where one value has another colour in another file's palette."""
    first: dict[int, tuple[Path, Colour]] = {}
    differing: list[tuple[Path, int, Colour]] = []
    for path, palette in palettes:
        for value, colour in palette.items():
            before = first.setdefault(value, (path, colour))
            if before[1] != colour:
                differing.append((path, value, colour))
    if not differing:
        return []
    path, value, colour = differing[0]
    other, expected = first[value]
    what = f"the palettes of masks differ: value {value} is {colour} in {path.name}, {expected} in "
    what += f"{other.name}; {len({path for path, *_ in differing})} files differ"
    done = "values are used, whatever their colours; if the colours are what is meant, give every "
    done += "class a color and no value in classes.yaml"
    return [problem(root, what, done)]


def are_instances(masks: Sequence[np.ndarray]) -> bool:
    """Tell if the values of masks are numbers of objects, not of classes.

    They count up from 1 in every mask, and nearly each is one piece; in 8-bit masks they also end
    at another number in some, for in those there may be classes that occur in every image.
    """
    counts, pieces = [], []
    for values in masks:
        numbers = np.unique(values[values != 0])
        if not np.array_equal(numbers, np.arange(1, len(numbers) + 1)):
            return False
        counts += [len(numbers)] if len(numbers) else []
        pieces += [label(values == number)[1] for number in numbers[:_OBJECTS_LOOKED_AT]]
    wide = bool(masks) and all(values.dtype.itemsize > 1 for values in masks)
    whole = sum(number == 1 for number in pieces) >= _WHOLE * len(pieces)
    varied = len(set(counts)) > 1 or wide
    return whole and varied and max(counts, default=0) >= _FEWEST_OBJECTS
