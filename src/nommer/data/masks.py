"""The one decoder of masks.

Whatever values or colours a file holds become labels, one byte per pixel.

A mask is an image in which every pixel says its class: by its value (8 or 16 bits, or the index
into a palette), or by its colour. Nothing is guessed: a value that stands for no class is an error.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from nommer.data.exif import load_upright
from nommer.data.images import ImageError, image_errors, open_image
from nommer.data.turns import strips, turn

IGNORE = 255
"""The label of pixels that count for nothing, in training as in evaluation; hence there are at most
255 classes.
"""

LARGEST_VALUE = 65_535
"""Largest value of a pixel in a mask."""

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

_LOSSY = ("JPEG", "MPO")
_LARGEST_OF_BITS = {"L;2": 3, "L;4": 15}
_UNKNOWN = -1
_SHOWN = 8


@dataclass(frozen=True)
class MaskEncoding:
    """The meaning of the values (or colours) in mask files."""

    values: Mapping[int, int]
    """From a pixel's value (0 to `LARGEST_VALUE`; in palette images the index) to its label, or to
    `IGNORE`.
    """
    colours: Mapping[Colour, int] = field(default_factory=dict)
    """From a pixel's colour to its label, or to `IGNORE`; empty where masks in colour cannot be
    read.
    """
    by_colour: bool = False
    """Grey and palette images are read by their colours too, not by their values."""
    ignores_255_by_default: bool = False
    """Value 255 is ignored because nobody said otherwise."""

    def labels(self, pixels: "MaskPixels") -> np.ndarray:
        """(H, W) int16: the label of every pixel, -1 where it has none."""
        if pixels.in_colour:
            keys, labels = self._colour_table
            found = np.searchsorted(keys, pixels.values)
            return np.where(keys[found] == pixels.values, labels[found], _UNKNOWN)
        return self._value_table[pixels.values]

    @cached_property
    def _value_table(self) -> np.ndarray:
        table = np.full(LARGEST_VALUE + 1, _UNKNOWN, np.int16)
        table[list(self.values)] = list(self.values.values())
        return table

    @cached_property
    def _colour_table(self) -> tuple[np.ndarray, np.ndarray]:
        """Packed colours, sorted, and their labels.

        The last colour is none, for the search to end at.
        """
        packed = {pack(colour): label for colour, label in self.colours.items()} | {
            1 << 24: _UNKNOWN
        }
        keys = sorted(packed)
        return np.array(keys, np.int32), np.array([packed[key] for key in keys], np.int16)


@dataclass(frozen=True)
class MaskPixels:
    """The pixels of a mask file, before it is known what they mean."""

    values: np.ndarray
    """(H, W) integers: values, indices into a palette, or packed colours."""
    in_colour: bool
    """True for colours."""

    def name(self, value: int) -> str:
        """One of `values`, for people."""
        return str(unpack(value)) if self.in_colour else str(value)


def pack(colour: Colour) -> int:
    """A colour as one integer."""
    red, green, blue = colour
    return (red << 16) | (green << 8) | blue


def unpack(packed: int) -> Colour:
    """The colour that `pack` made an integer of."""
    return packed >> 16, (packed >> 8) & 255, packed & 255


def read_mask(path: Path, encoding: MaskEncoding) -> np.ndarray:
    """Read a mask file as labels, turned as its EXIF orientation says.

    Args:
        path: the file.
        encoding: what its values mean.

    Returns:
        (H, W) uint8 labels: class indices, or `IGNORE`.

    Raises:
        ImageError: the file cannot be decoded, is compressed with loss, or holds values that mean
            nothing.
    """
    return to_labels(path, read_pixels(path, by_colour=encoding.by_colour), encoding)


def to_labels(path: Path, pixels: MaskPixels, encoding: MaskEncoding) -> np.ndarray:
    """Return the labels as `read_mask` does, of a file that is read already.

    Raises:
        ImageError: it holds values that mean nothing.
    """
    labels: np.ndarray = np.empty(pixels.values.shape, np.uint8)
    for rows in strips(*labels.shape):
        found = encoding.labels(MaskPixels(pixels.values[rows], pixels.in_colour))
        if found.min() == _UNKNOWN:
            unknown = encoding.labels(pixels) == _UNKNOWN
            raise ImageError(path, _describe_unknown(pixels, unknown, encoding))
        labels[rows] = found
    return labels


def read_pixels(path: Path, *, by_colour: bool = False) -> MaskPixels:
    """Read a mask file as it is.

    Args:
        path: the file.
        by_colour: take a grey or palette image for its colours; by default it is its values, or
            indices.

    Raises:
        ImageError: the file cannot be decoded, is compressed with loss, or holds what no mask does.
    """
    with image_errors(path), open_image(path) as image, turn(image.size):
        return pixels_of(image, by_colour=by_colour)


def pixels_of(image: Image.Image, *, by_colour: bool = False) -> MaskPixels:
    """Return pixels as `read_pixels` does, of an open file; use inside `image_errors`.

    Raises:
        ImageError: the file is compressed with loss, or holds what no mask does.
    """
    if image.format in _LOSSY:
        raise ImageError(
            "mask", "is a JPEG, whose compression changes the values of a mask; save masks as PNG"
        )
    largest = _largest_in_file(image)
    bare = _without_alpha(load_upright(image))
    if by_colour and bare.mode in ("1", "L", "P"):
        return _pixels(bare.convert("RGB"))
    return _pixels(bare if largest is None else _as_stored(bare, largest))


def _largest_in_file(image: Image.Image) -> int | None:
    """Return the largest value that a grey file, opened but not loaded, can hold.

    None where Pillow will not stretch its values to 255 or 65,535.
    """
    tiles = getattr(image, "tile", None)
    if not tiles or not tiles[0].args:
        return None
    codec, _, _, arguments = tiles[0]
    if codec in ("ppm", "ppm_plain"):
        return int(arguments[1]) if image.mode in ("L", "I") else None
    raw_mode = arguments if isinstance(arguments, str) else str(arguments[0])
    return _LARGEST_OF_BITS.get(raw_mode[:3])


def _as_stored(image: Image.Image, largest: int) -> Image.Image:
    """Return a grey image with the values of its file.

    Pillow has stretched `largest` to 255 or 65,535.
    """
    stretched = np.asarray(image)
    full = 255 if stretched.dtype == np.uint8 else LARGEST_VALUE
    stored = np.empty_like(stretched)
    for rows in strips(*stored.shape):
        stored[rows] = (stretched[rows].astype(np.int64) * largest + full // 2) // full
    return Image.fromarray(stored)


def _without_alpha(image: Image.Image) -> Image.Image:
    """A mask whose transparency, if any, says nothing."""
    if image.mode not in ("LA", "RGBA"):
        return image
    if image.getchannel("A").getextrema() != (255, 255):
        raise ImageError(
            "mask", "is transparent in places, and a class is not; save masks without transparency"
        )
    return image.convert(image.mode[:-1])


def _pixels(image: Image.Image) -> MaskPixels:
    if image.mode == "RGB":
        packed = np.empty((image.height, image.width), np.int32)
        for rows in strips(image.height, image.width):
            strip = image.crop((0, rows.start, image.width, rows.stop))
            red, green, blue = np.moveaxis(np.asarray(strip).astype(np.int32), -1, 0)
            packed[rows] = red << 16 | green << 8 | blue
        return MaskPixels(packed, in_colour=True)
    if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
        raise ImageError(
            "mask",
            f"has pixels of mode {image.mode}; masks are grey (8 or 16 bits), palette or RGB",
        )
    values = np.asarray(image)
    if values.dtype.itemsize > 2 and (values.min() < 0 or values.max() > LARGEST_VALUE):
        raise ImageError(
            "mask",
            f"has values from {values.min()} to {values.max()}; expected 0 to {LARGEST_VALUE}",
        )
    return MaskPixels(values.astype(np.uint8) if values.dtype == bool else values, in_colour=False)


def _describe_unknown(pixels: MaskPixels, unknown: np.ndarray, encoding: MaskEncoding) -> str:
    values, counts = np.unique(pixels.values[unknown], return_counts=True)
    if pixels.in_colour and not encoding.colours:
        return (
            "is in colour, but the classes have no colours: list each class with its color in a "
            "class file"
        )
    if encoding.by_colour and not pixels.in_colour:
        return (
            "holds 16-bit values, but the classes are told by colour: give each class its value in "
            "the class file"
        )
    order = np.argsort(-counts, kind="stable")[:_SHOWN]
    listed = ", ".join(
        f"{pixels.name(int(values[i]))} ({_pixels_as_text(counts[i])})" for i in order
    )
    more = f", ... {len(values)} in all" if len(values) > _SHOWN else ""
    kind = ("colour" if pixels.in_colour else "value") + ("s" if len(values) > 1 else "")
    expected = _expected(encoding, in_colour=pixels.in_colour)
    return f"{kind} {listed}{more} of no class; expected {expected}"


def _pixels_as_text(count: int) -> str:
    return "1 pixel" if count == 1 else f"{count:,} pixels"


def _expected(encoding: MaskEncoding, *, in_colour: bool) -> str:
    if in_colour:
        more = f", ... {len(encoding.colours)} in all" if len(encoding.colours) > _SHOWN else ""
        hint = "; where masks hold numbers, give each class its value" if encoding.by_colour else ""
        return ", ".join(str(colour) for colour in list(encoding.colours)[:_SHOWN]) + more + hint
    known = ranges(value for value, label in encoding.values.items() if label != IGNORE)
    ignored = ranges(value for value, label in encoding.values.items() if label == IGNORE)
    return f"{known}, or {ignored} to be ignored" if ignored else known


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as text, neighbours drawn together: "0-11, 255"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def check_size(
    path: Path, shape: tuple[int, ...], expected: tuple[int, int], *, hint: str = ""
) -> None:
    """Refuse a mask of another size than its image.

    Args:
        path: the mask's file.
        shape: its height and width.
        expected: width and height of the image.
        hint: end of the message.

    Raises:
        ImageError: both sizes.
    """
    height, width = shape
    if (width, height) != expected:
        sizes = f"{width} x {height} pixels, its image {expected[0]} x {expected[1]}"
        raise ImageError(path, f"is {sizes}; both must be the same{hint}")
