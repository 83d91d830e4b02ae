"""The one decoder.

Whatever reads pixels, for training, evaluation, prediction or export, reads them here. Every image
becomes 8-bit RGB: turned as its EXIF orientation says; CMYK, palettes and the like converted;
transparency laid over a declared colour; 16-bit greys scaled to 8 bits, not clipped. What cannot be
decoded is an `ImageError`.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import NoReturn, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from nommer.data.archives import find_archive, folders_in, open_archive, read_bytes
from nommer.data.exif import load_upright
from nommer.errors import InputError

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

ImageSource: TypeAlias = str | Path | Image.Image | np.ndarray
"""Images that prediction accepts: a path, a PIL image, or an (H, W, 3) uint8 array."""

_TRANSPARENT_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


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

_opening = Lock()
"""Filters of warnings belong to the whole process, so only one thread at a time may change them."""


@contextmanager
def image_errors(source: str | Path) -> Iterator[None]:
    """Turn whatever goes wrong inside with the pixels of `source` into an `ImageError`."""
    try:
        yield
    except ImageError as error:
        raise ImageError(source, error.reason) from error
    except Exception as error:
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
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path if content is None else BytesIO(content), formats=FORMATS)


def decode(
    path: str | Path,
    *,
    background: tuple[int, int, int] = (255, 255, 255),
    content: bytes | None = None,
) -> Image.Image:
    """Read an image file as 8-bit RGB; of an animation or a multi-page file, the first frame.

    Args:
        path: the file, on disk or as `ARCHIVE/NAME` inside an archive.
        background: colour (0-255) that shows through transparent pixels.
        content: of the file, where it was read before.

    Raises:
        ImageError: the file is missing, unreadable, no image of a known format, cut short, or over
            `MAX_PIXELS`.
    """
    with image_errors(path), open_image(path, content) as image:
        return to_rgb(image, background=background)


def to_rgb(
    image: Image.Image, *, background: tuple[int, int, int] = (255, 255, 255)
) -> Image.Image:
    """An open PIL image as 8-bit RGB, turned as its EXIF orientation says.

    Damaged EXIF data is taken for none.

    Use inside `image_errors`, for it fails as Pillow does where the pixels cannot be read.

    Raises:
        ImageError: pixel values whose range is unknown (float images, 32-bit integers over 65,535).
    """
    upright = load_upright(image)
    if upright.mode == "F":
        raise ImageError("image", "float pixels: their range is unknown, save it as 8 or 16 bit")
    if upright.mode in _SIXTEEN_BIT_MODES:
        return _scale_sixteen_bits(upright)
    if upright.mode in _TRANSPARENT_MODES or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        under = Image.new("RGBA", rgba.size, (*background, 255))
        return Image.alpha_composite(under, rgba).convert("RGB")
    return upright.convert("RGB")


def _scale_sixteen_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65_535:
        found = f"integers from {values.min()} to {values.max()}"
        raise ImageError("image", f"{found}: expected 16 bits, 0 to 65535")
    return Image.fromarray(np.round(values / 257).astype(np.uint8)).convert("RGB")


def open_any(
    source: ImageSource, *, background: tuple[int, int, int] = (255, 255, 255)
) -> Image.Image:
    """Decode whatever prediction accepts: a path, a PIL image, or an (H, W, 3) uint8 array.

    Raises:
        ImageError: a file that cannot be decoded, or an array of another shape or type.
    """
    if isinstance(source, Image.Image):
        with image_errors("image"):
            return to_rgb(source, background=background)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            raise ImageError(
                "array", f"expected (H, W, 3) uint8, got {source.shape} {source.dtype}"
            )
        return Image.fromarray(source)
    return decode(source, background=background)


def is_image_name(path: Path) -> bool:
    """Return True for a file name that ends as images do."""
    return path.suffix.lower() in EXTENSIONS


def visible_files(folder: Path) -> list[Path]:
    """Files in a folder, also of an archive, searched deeply and sorted.

    Nothing whose name, or whose folder's name, begins with a dot is among them.
    Links to folders are followed, except into a folder that holds the link. Links that lead nowhere
    are among the files, for whoever reads them to complain.

    Raises:
        InputError: a folder that may not be read.
    """
    if found := find_archive(folder):
        return [found[0] / name for name in open_archive(found[0]).below(found[1])]
    return sorted(path for path in _walk(folder) if path.is_file() or path.is_symlink())


def holds_images(folder: Path) -> bool:
    """Return True where a file in a folder, searched as `visible_files` does, is named as an image.

    Raises:
        InputError: a folder that may not be read.
    """
    return any(is_image_name(path) for path in _walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        below = (Path(parent, name) for name in folders if not name.startswith("."))
        folders[:] = [path.name for path in below if not (path.is_symlink() and _leads_back(path))]
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _leads_back(link: Path) -> bool:
    """Return True for a link to a folder that holds it, wherever links on the way there lead."""
    target = link.resolve()
    return any(folder.resolve().is_relative_to(target) for folder in link.parents)


def sub_folders(folder: Path) -> list[Path]:
    """Folders directly in a folder, also of an archive, sorted; none whose name begins with a dot.

    Raises:
        InputError: a folder that may not be read.
    """
    if found := find_archive(folder):
        return [found[0] / name for name in folders_in(open_archive(found[0]), found[1])]
    try:
        with os.scandir(
            folder
        ) as entries:  # which knows folders from files without asking for each
            return sorted(
                Path(entry.path) for entry in entries if entry.name[0] != "." and entry.is_dir()
            )
    except OSError as error:
        _refuse_folder(error)


def is_folder(path: Path) -> bool:
    """Return True for a folder, on disk or in an archive; an archive is one."""
    if found := find_archive(path):
        return found[1] in open_archive(found[0]).folders
    return path.is_dir()


def direct_files(folder: Path) -> list[Path]:
    """Files directly in a folder, also of an archive, sorted; none whose name begins with a dot."""
    if find_archive(folder):
        return [path for path in visible_files(folder) if path.parent == folder]
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")


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
    if path.exists() or not any(sign in pattern for sign in "*?["):
        return [path]
    # glob, unlike Path.glob, takes absolute patterns too, and leaves out hidden files
    matches = glob(pattern, recursive=True)  # noqa: PTH207
    found = sorted(file for file in map(Path, matches) if file.is_file())
    if not found:
        raise InputError(f"{pattern}: the pattern matches no file")
    return found
