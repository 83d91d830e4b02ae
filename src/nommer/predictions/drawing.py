"""Drawing that the pictures of all answers share."""

import colorsys
from collections.abc import Sequence

from PIL import Image, ImageDraw

from nommer.fonts import lettering_for

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

_LONGEST_LINE = 60
"""Letters of a line that is laid over a picture."""


def captioned(
    image: Image.Image, lines: Sequence[str], colours: Sequence[tuple[int, int, int]] = ()
) -> Image.Image:
    """Write lines into the upper left corner of an image, each behind its colour if it has one."""
    if not lines:
        return image
    lettering = lettering_for(lines)
    font = lettering.font(LETTERS)
    texts = [lettering.shown(line)[:_LONGEST_LINE] for line in lines]
    indent = LINE if colours else 0
    width = round(max(map(font.getlength, texts))) + 2 * MARGIN + indent
    height = LINE * len(lines) + MARGIN
    under = image.crop((0, 0, width, height))
    image.paste(Image.blend(under, Image.new("RGB", under.size, "white"), 0.75), (0, 0))
    draw = ImageDraw.Draw(image)
    for row, text in enumerate(texts):
        top = MARGIN // 2 + LINE * row
        if colours:
            square = (MARGIN, top + 2, MARGIN + LETTERS, top + LETTERS + 2)
            draw.rectangle(square, fill=colours[row], outline="black")
        draw.text((MARGIN + indent, top), text, fill="black", font=font)
    return image


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
