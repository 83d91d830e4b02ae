"""The one decoder.

Whatever reads pixels, for training, evaluation, prediction or export, reads them here. Every image
becomes 8-bit RGB: turned as its EXIF orientation says; CMYK, palettes and the like converted;
transparency laid over a declared colour; 16-bit greys scaled to 8 bits, not clipped. What cannot be
decoded is an `ImageError`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from nommer.data.archives import find_archive, read_bytes
from nommer.data.bombs import no_bomb_warning
from nommer.data.exif import load_upright
from nommer.data.lost import LostError
from nommer.data.tiff import check_whole, has_alpha, unused_bands
from nommer.data.turns import strips, turn
from nommer.data.wide import RangeError, Values, WideImage, is_wide, is_wide_colour
from nommer.errors import InputError
from nommer.files import NoPlainFileError, plain_size
from nommer.settings.pixel_range import NAMED_RANGES, Reading

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")
"""Pillow formats that are read; anything else is refused, whatever its file name says. JPEG opens
MPO files too.
"""

MAX_PIXELS = 178_956_970
"""Largest image decoded, in pixels; Pillow's own limit against decompression bombs."""

_TRANSPARENT_MODES = ("RGBA", "LA", "PA", "La", "RGBa")


class ImageError(InputError):
    """An image that cannot be decoded whole; names the file and the reason."""

    def __init__(self, source: str | Path, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = str(source)
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str]]:
        return type(self), (self.source, self.reason)


_REASONS: dict[type[Exception], str] = {
    Image.DecompressionBombError: f"too large: over the limit of {MAX_PIXELS:,} pixels",
    UnidentifiedImageError: "not an image of a known format (or cut before its header ends)",
    FileNotFoundError: "file does not exist",
    IsADirectoryError: "is a folder, not a file",
    PermissionError: "no permission to read the file",
}
"""Reasons for errors that Pillow or the system raises; others keep their own words."""

_NO_MEMORY = "there is not enough memory to decode it; free some, or make the image smaller"


@contextmanager
def image_errors(source: str | Path) -> Iterator[None]:
    """Turn whatever goes wrong inside with the pixels of `source` into an `ImageError`."""
    try:
        yield
    except LostError:  # a server's fault, for which no image is to be left out
        raise
    except ImageError as error:
        raise ImageError(source, error.reason) from error
    except Exception as error:
        if isinstance(error, NoPlainFileError | MemoryError):
            raise ImageError(source, str(error) or _NO_MEMORY) from error
        known = (reason for kind, reason in _REASONS.items() if isinstance(error, kind))
        raise ImageError(source, next(known, f"cannot be decoded: {error}")) from error


def open_image(path: str | Path, content: bytes | None = None) -> Image.Image:
    """Open a file of one of `FORMATS`, also inside an archive, and read its header.

    Use inside `image_errors`.

    Args:
        path: the file.
        content: of the file, where it was read before.
    """
    if content is None and find_archive(Path(path)):
        content = read_bytes(Path(path))
    elif content is None:
        plain_size(Path(path))  # a pipe would be waited for
    Image.preinit()  # at the first format that is not there, Pillow would import all it knows
    with no_bomb_warning():
        return Image.open(path if content is None else BytesIO(content), formats=FORMATS)


def decode(
    path: str | Path, reading: Reading = Reading(), *, content: bytes | None = None
) -> Image.Image:
    """Read an image file as 8-bit RGB; of an animation or a multi-page file, the first frame.

    Args:
        path: the file, on disk or as `ARCHIVE/NAME` inside an archive.
        reading: the background under transparent pixels, and the range of wide values.
        content: of the file, where it was read before.

    Raises:
        ImageError: the file is missing, unreadable, no image of a known format, cut short, over
            `MAX_PIXELS`, or holds values of another range.
    """
    with image_errors(path), open_image(path, content) as image, turn(image.size):
        return to_rgb(image, reading)


def to_rgb(image: Image.Image, reading: Reading = Reading()) -> Image.Image:
    """An open PIL image as 8-bit RGB, turned as its EXIF orientation says.

    Damaged EXIF data is taken for none.

    Use inside `image_errors`, for it fails as Pillow does where the pixels cannot be read.

    Raises:
        ImageError: pixel values whose range is unknown (float images, 32-bit integers over 65,535)
            or that lie outside of the range given.
    """
    check_whole(image)
    if is_wide(image) and not _suits_pillow(image, reading):
        try:
            return WideImage(image).to_rgb(reading)
        except RangeError as error:
            raise ImageError("image", str(error)) from error
    upright = load_upright(image)
    transparent = upright.mode in _TRANSPARENT_MODES or "transparency" in upright.info
    if transparent and has_alpha(image, upright):
        return _over(upright, reading.background)
    return upright.convert("RGB")


def check_pixels(image: Image.Image, reading: Reading) -> tuple[Values | None, int]:
    """Read every pixel of an open image, without making it RGB.

    Use inside `image_errors`.

    Returns:
        Of an image of more than 8 bits the least and largest value; and how many of its bands are
        not used.

    Raises:
        ImageError: as of `to_rgb`.
    """
    check_whole(image)
    try:
        if is_wide(image):
            wide = WideImage(image)
            if reading.range != "data":
                wide.check(reading)
            return wide.values, unused_bands(image)
    except RangeError as error:
        raise ImageError("image", str(error)) from error
    return None, unused_bands(image, load_upright(image))


def _suits_pillow(image: Image.Image, reading: Reading) -> bool:
    """Return True for colours of 16 bits of which the high bytes are all that is needed."""
    return (
        is_wide_colour(image)
        and reading.bounds in (None, NAMED_RANGES["16bit"])
        and "transparency" not in image.info
    )


def _over(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """An image over a background, strip by strip, so that a large one is held but once more."""
    shown = Image.new("RGB", image.size)
    for rows in strips(image.height, image.width):
        strip = image.crop((0, rows.start, image.width, rows.stop))
        rgba = strip.convert("RGBA")
        under = Image.new("RGBA", rgba.size, (*background, 255))
        shown.paste(Image.alpha_composite(under, rgba).convert("RGB"), (0, rows.start))
    return shown
