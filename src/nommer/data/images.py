"""The one decoder.

Whatever reads pixels, for training, evaluation, prediction or export, reads them here. Every image
becomes 8-bit RGB: turned as its EXIF orientation says; CMYK, palettes and the like converted;
transparency laid over a declared colour; 16-bit greys scaled to 8 bits, not clipped. What cannot be
decoded is an `ImageError`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NoReturn

from PIL import Image, UnidentifiedImageError

from nommer.data.archives import find_archive, folders_in, open_archive, read_bytes
from nommer.data.bombs import no_bomb_warning
from nommer.data.exif import load_upright
from nommer.data.tiff import check_whole, has_alpha, unused_bands
from nommer.data.turns import strips, turn
from nommer.data.walking import expand, is_passed_over, walk
from nommer.data.wide import RangeError, Values, WideImage, is_wide, is_wide_colour
from nommer.errors import InputError
from nommer.files import NoPlainFileError, is_dir, is_file, plain_size
from nommer.settings.pixel_range import NAMED_RANGES, Reading

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")
"""Pillow formats that are read; anything else is refused, whatever its file name says. JPEG opens
MPO files too.
"""

EXTENSIONS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".avif",
        ".jp2",
        ".j2k",
        ".mpo",
    ]
)
"""File name endings (lower case) by which images are found in folders."""

UNREAD_EXTENSIONS = frozenset(
    [".heic", ".heif", ".jxl", ".dng", ".nef", ".cr2", ".arw", ".dcm", ".tga", ".psd"]
)
"""File name endings (lower case) of images that are not read, which people may take for read."""

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


def is_image_name(path: Path) -> bool:
    """Return True for a file name that ends as images do."""
    return path.suffix.lower() in EXTENSIONS


def visible_files(folder: Path) -> list[Path]:
    """Files in a folder, also of an archive, searched deeply and sorted.

    Nothing whose name, or whose folder's name, begins with a dot is among them.
    Links to folders are followed, each real folder is searched once. Links that lead nowhere,
    pipes, devices, and empty folders that are called like images are among the files, for whoever
    reads them to complain.

    Raises:
        InputError: a folder that may not be read.
    """
    if found := find_archive(folder):
        return [found[0] / name for name in open_archive(found[0]).below(found[1])]
    files = walk(folder, _refuse_folder)
    return sorted(path for path in files if is_image_name(path) or not is_dir(path))


def holds_images(folder: Path) -> bool:
    """Return True where a file in a folder, searched as `visible_files` does, is named as an image.

    Raises:
        InputError: a folder that may not be read.
    """
    return any(is_image_name(path) for path in walk(folder, _refuse_folder))


def sub_folders(folder: Path) -> list[Path]:
    """Folders directly in a folder, also of an archive, sorted; none whose name begins with a dot.

    Raises:
        InputError: a folder that may not be read.
    """
    if found := find_archive(folder):
        return [found[0] / name for name in folders_in(open_archive(found[0]), found[1])]
    try:
        # scandir knows folders from files without asking for each
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path)
                for entry in entries
                if not is_passed_over(entry.name) and entry.is_dir()
            )
    except OSError as error:
        _refuse_folder(error)


def is_folder(path: Path) -> bool:
    """Return True for a folder, on disk or in an archive; an archive is one."""
    if found := find_archive(path):
        return found[1] in open_archive(found[0]).folders
    return is_dir(path)


def direct_files(folder: Path) -> list[Path]:
    """Files directly in a folder, also of an archive, sorted; none whose name begins with a dot."""
    if find_archive(folder):
        return [path for path in visible_files(folder) if path.parent == folder]
    return sorted(path for path in folder.iterdir() if path.name[0] != "." and not is_dir(path))


def _refuse_folder(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: this folder cannot be read: {error.strerror}") from error


def find_images(patterns: list[str]) -> Iterator[Path]:
    """Yield the image files that files, folders (searched deeply) and glob patterns name, once.

    A single file is taken as it is named, whether it exists or not: reading it tells.

    Raises:
        InputError: a folder without images, or a pattern that matches no file.
    """
    seen: set[Path] = set()
    for pattern in patterns:
        for path in _expand(pattern):
            if path not in seen:
                seen.add(path)
                yield path


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern)
    if is_folder(path):
        found = [file for file in visible_files(path) if is_image_name(file)]
        if not found:
            raise InputError(
                f"{pattern}: no images in this folder (looked for {', '.join(sorted(EXTENSIONS))})"
            )
        return found
    if is_file(path) or not any(sign in pattern for sign in "*?["):
        return [path]
    found = [file for file in expand(pattern, _refuse_folder) if is_file(file)]
    if not found:
        raise InputError(f"{pattern}: the pattern matches no file")
    return found
