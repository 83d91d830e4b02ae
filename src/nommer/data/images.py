"""The one decoder: whatever reads pixels, for training, evaluation, prediction or export, reads them here.

Every image becomes 8-bit RGB: turned as its EXIF orientation says; CMYK, palettes and the like converted; transparency
laid over a declared colour; 16-bit greys scaled to 8 bits, not clipped. What cannot be decoded is an `ImageError`.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nommer.errors import InputError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000", "MPO")
"""Pillow formats that are read; anything else is refused, whatever its file name says."""

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

MAX_PIXELS = 178_956_970
"""Largest image decoded, in pixels; Pillow's own limit against decompression bombs."""

ImageSource: TypeAlias = str | Path | Image.Image | np.ndarray
"""What prediction accepts: a path, a PIL image, or an (H, W, 3) uint8 array."""

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


def decode(source: str | Path, *, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """Read an image file as 8-bit RGB; of an animation or a multi-page file, the first frame.

    Args:
        source: path of the file.
        background: colour (0-255) that shows through transparent pixels.

    Raises:
        ImageError: the file is missing, unreadable, no image of a known format, cut short, or over `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(source, formats=FORMATS)
        with image:
            image.load()
            return to_rgb(image, background=background)
    except Image.DecompressionBombError as error:
        raise ImageError(source, f"too large: over the limit of {MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise ImageError(source, "not an image of a known format (or cut before its header ends)") from error
    except FileNotFoundError as error:
        raise ImageError(source, "file does not exist") from error
    except PermissionError as error:
        raise ImageError(source, "no permission to read the file") from error
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(source, f"cannot be decoded: {error}") from error


def to_rgb(image: Image.Image, *, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """An open PIL image as 8-bit RGB, turned upright.

    Raises:
        ImageError: pixel values whose range is unknown (float images, 32-bit integers over 65,535).
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        raise ImageError(
            getattr(image, "filename", "image"), "float pixels: their range is unknown, save it as 8 or 16 bit"
        )
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
        raise ImageError(getattr(image, "filename", "image"), f"{found}: expected 16 bits, 0 to 65535")
    return Image.fromarray(np.round(values / 257).astype(np.uint8)).convert("RGB")


def open_any(source: ImageSource, *, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """Decode whatever prediction accepts: a path, a PIL image, or an (H, W, 3) uint8 array.

    Raises:
        ImageError: a file that cannot be decoded, or an array of another shape or type.
    """
    if isinstance(source, Image.Image):
        return to_rgb(source, background=background)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
            raise ImageError("array", f"expected (H, W, 3) uint8, got {source.shape} {source.dtype}")
        return Image.fromarray(source)
    return decode(source, background=background)


def is_image_name(path: Path) -> bool:
    """Whether the file name ends as images do."""
    return path.suffix.lower() in EXTENSIONS


def find_images(patterns: list[str]) -> Iterator[Path]:
    """Image files that files, folders (searched deeply) and glob patterns name, in order, each once.

    Raises:
        InputError: an entry that names nothing, or a folder without images.
    """
    seen: set[Path] = set()
    for pattern in patterns:
        for path in _expand(pattern):
            if path not in seen:
                seen.add(path)
                yield path


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file() and is_image_name(file))
        if not found:
            raise InputError(f"{pattern}: no images in this folder (looked for {', '.join(sorted(EXTENSIONS))})")
        return found
    if path.exists() or not any(sign in pattern for sign in "*?["):
        return [path]
    root = Path(path.anchor) if path.is_absolute() else Path()
    found = sorted(file for file in root.glob(str(path.relative_to(path.anchor))) if file.is_file())
    if not found:
        raise InputError(f"{pattern}: the pattern matches no file")
    return found
