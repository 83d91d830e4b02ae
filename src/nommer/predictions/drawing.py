"""Drawing that the pictures of all answers share."""

import colorsys

from PIL import Image

MARGIN = 6
"""Around text, in pixels."""

LINE = 22
"""Height of a line of text under or beside a picture, in pixels."""

LETTERS = 16
"""Height of the letters, in pixels."""

OPACITY = 0.5
"""Of the classes' colours over an image."""


LARGEST = 1280
"""Longer side of a picture of pixels or objects, at most."""

_SMALL = 224
"""Shorter side of a picture towards which smaller ones are enlarged, in pixels."""


def enlarged(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return a size of at least `side` pixels on the shorter side, at most 640 on the longer.

    It is enlarged by a whole factor where that fits.
    """
    factor = max(1, min(-(-side // min(size)), 640 // max(size)))
    return size[0] * factor, size[1] * factor


def fitted(image: Image.Image, largest: int) -> Image.Image:
    """Return a copy of at most `largest` pixels a side; a small one is enlarged, pixel by pixel."""
    shown = image.copy()
    shown.thumbnail((largest, largest))
    if min(shown.size) >= _SMALL:
        return shown
    return shown.resize(enlarged(shown.size, _SMALL), Image.Resampling.NEAREST)


def class_colour(label: int) -> tuple[int, int, int]:
    """A bright RGB colour for a class.

    Hues a golden angle apart, so that no two of few classes are alike.
    """
    red, green, blue = colorsys.hsv_to_rgb(label * 0.381966 % 1, 0.65, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
