"""The orientation of an image, by its EXIF data, and whether these can be read at all.

Pillow decodes a whole PNG to tell its EXIF data, for they may come after the pixels. Asked of an
image that is only opened, it would do so in vain where they do not; and of a damaged file it would
keep the pixels that it had so far, as if that were all. So here the pixels are read first where
EXIF data follow them, and otherwise not at all.
"""

import struct
from collections.abc import Iterator
from itertools import dropwhile
from typing import IO

from PIL import Image, ImageOps
from PIL.ExifTags import Base as ExifTag
from PIL.PngImagePlugin import PngImageFile

from nommer.data.bombs import load_quietly

FIRST_SIDEWAYS = 5
"""EXIF orientations from this one on turn an image by a quarter."""

_PNG_SIGNATURE = 8
"""Bytes of a PNG before its first chunk."""

_EXIF_TEXTS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
"""The first bytes of those text chunks of a PNG in which Pillow finds an orientation."""


def load_upright(image: Image.Image) -> Image.Image:
    """An open image with its pixels read, turned as its EXIF orientation says.

    Fails as Pillow does.
    """
    _keep_unmapped(image)
    load_quietly(image)
    return image if orientation_of(image) == 1 else ImageOps.exif_transpose(image)


def _keep_unmapped(image: Image.Image) -> None:
    """Have the pixels of a TIFF on its side read, for Pillow maps them with the sides swapped.

    It does so where they are not compressed, and takes the place of every pixel but the first ones
    from the width of the image as it will be turned.
    """
    if image.format == "TIFF" and orientation_of(image) >= FIRST_SIDEWAYS:
        vars(image)["filename"] = ""  # without one there is nothing to map


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 also for what is none of these, which turns nothing."""
    found = Image.Image.getexif(image).get(ExifTag.Orientation) if has_sound_exif(image) else None
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as an image that is only opened is stored.

    Pillow gives those of a TIFF as it will be turned.
    """
    is_turned = image.format == "TIFF" and orientation_of(image) >= FIRST_SIDEWAYS
    return image.size[::-1] if is_turned else image.size


def has_sound_exif(image: Image.Image) -> bool:
    """Return True where the EXIF data of an open image, if any, can be read.

    Fails as Pillow does where pixels come first.
    """
    if _has_late_exif(image):
        image.load()
    try:
        Image.Image.getexif(image)
    except Exception:  # whatever the bytes make the parser do
        return False
    return True


def _has_late_exif(image: Image.Image) -> bool:
    """Return True where EXIF data come after the pixels of a PNG, and these are not read yet."""
    if not isinstance(image, PngImageFile) or not image.tile or image.fp is None:
        return False
    place = image.fp.tell()
    behind = dropwhile(lambda chunk: chunk[0] != b"IDAT", _chunks(image.fp))
    found = any(kind == b"eXIf" or start.startswith(_EXIF_TEXTS) for kind, start in behind)
    image.fp.seek(place)
    return found


def _chunks(png: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The kind of every chunk of a PNG, and how its content begins."""
    png.seek(_PNG_SIGNATURE)
    while len(head := png.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        start = png.read(min(length, max(map(len, _EXIF_TEXTS))))
        yield kind, start
        png.seek(length - len(start) + 4, 1)
