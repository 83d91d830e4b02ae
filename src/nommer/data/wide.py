"""Images of more than 8 bits per channel: their stored values, and how these become 8 bits.

Pillow keeps grey values of 16 and 32 bits, but of colours of 16 bits the high bytes alone. Reading
a file a second time in the other order of bytes gives the low ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from nommer.data.exif import load_upright
from nommer.data.turns import strips
from nommer.settings.pixel_range import Reading

SIXTEEN_BITS = 65_535
"""Largest value of 16 bits."""

OUTSIDE = 0.01
"""Largest share of an image's values outside of a range given as numbers; they are clipped."""

WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Pillow's modes of grey images of more than 8 bits."""

_OTHER_ORDER = {"B": "L", "L": "B", "N": "B"}
"""Raw modes that give the low bytes where this one gives the high ones; native is little-endian."""

_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0


class RangeError(ValueError):
    """Values whose range is not known, or that lie outside of the one given."""


@dataclass(frozen=True)
class Values:
    """Least and largest value of an image of more than 8 bits."""

    low: float
    high: float
    is_float: bool = False
    full: int = SIXTEEN_BITS
    """Largest value that the file can hold, as far as it says so."""


class WideImage:
    """An open image of more than 8 bits, read strip by strip.

    Args:
        image: opened, not loaded, or one in memory.

    Use `is_wide` first.
    """

    def __init__(self, image: Image.Image) -> None:
        self.full = _largest_of(image)
        self.inverted = _is_inverted(image)
        self.transparent = image.info.get("transparency")
        self._in_pairs = _raw_mode(image).startswith("LA")
        self._low = _low_bytes(image)
        self._stretched = _is_stretched(image)
        self._high = load_upright(image)
        self.size = self._high.size
        self.is_float = self._high.mode == "F"

    def strips(self) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
        """Yield top row, (h, W, C) values and (h, W) bool or float alpha of strips, in order."""
        width, height = self.size
        for rows in strips(height, width):
            yield rows.start, *self._strip((0, rows.start, width, rows.stop))

    def _strip(self, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray | None]:
        high = np.atleast_3d(np.asarray(self._high.crop(box)))
        if self._low is None:
            values = self._as_stored(high)
            return values, self._keyed(values)
        low = np.atleast_3d(np.asarray(self._low.crop(box)))
        if self._in_pairs:  # grey and alpha, their high and low bytes as four bands
            values, alpha = low[..., 0::2].astype(np.uint16) << 8 | low[..., 1::2], 1
        else:
            values, alpha = high.astype(np.uint16) << 8 | low, 3
        if values.shape[2] > alpha:
            return values[..., :alpha], values[..., alpha] / np.float32(SIXTEEN_BITS)
        return values, self._keyed(values)

    def _as_stored(self, values: np.ndarray) -> np.ndarray:
        if not self._stretched:
            return values
        wide = values.astype(np.int64)
        return ((wide * self.full + SIXTEEN_BITS // 2) // SIXTEEN_BITS).astype(values.dtype)

    def _keyed(self, values: np.ndarray) -> np.ndarray | None:
        """Return alpha of an image in which one value or colour is transparent."""
        if not isinstance(self.transparent, int | tuple):
            return None
        return ~(values == np.array(self.transparent)).all(-1)

    @cached_property
    def values(self) -> Values:
        """The least and largest value that shows, found in one pass.

        Raises:
            RangeError: values that are infinite or NaN.
        """
        low, high = np.inf, -np.inf
        for _, values, alpha in self.strips():
            shown = values if alpha is None else values[alpha > 0]
            if shown.size:
                low, high = min(low, float(shown.min())), max(high, float(shown.max()))
            if not np.isfinite(low + high) and shown.size:
                raise RangeError("float pixels that are infinite or NaN")
        return Values(*((low, high) if low <= high else (0.0, 0.0)), self.is_float, self.full)

    def to_rgb(self, reading: Reading) -> Image.Image:
        """Return 8-bit RGB, the range's ends black and white.

        Raises:
            RangeError: values whose range is not known, or that lie outside of it.
        """
        low, high = self.check(reading)
        under = np.array(reading.background, np.float32)
        shown = Image.new("RGB", self.size)
        for top, values, alpha in self.strips():
            grey = _to_bytes(values, low, high, inverted=self.inverted)
            colours = np.broadcast_to(grey, (*grey.shape[:2], 3))
            if alpha is not None:
                share = np.asarray(alpha, np.float32)[..., None]
                colours = np.rint(colours * share + under * (1 - share)).astype(np.uint8)
            shown.paste(Image.fromarray(np.ascontiguousarray(colours)), (0, top))
        return shown

    def _bounds(self, reading: Reading) -> tuple[float, float]:
        bounds = reading.bounds
        if self.is_float and bounds is None:
            raise RangeError(
                f"float pixels{self._found()}: their range is unknown; say it with --pixels.range "
                "(8bit, unit, data, ...), or save it as 8 or 16 bit"
            )
        declares = self.full < SIXTEEN_BITS and not self.is_float
        if declares and not isinstance(reading.range, tuple):
            return 0.0, float(self.full)
        return bounds or (0.0, float(SIXTEEN_BITS))

    def _found(self) -> str:
        return f" from {self.values.low:g} to {self.values.high:g}"

    def check(self, reading: Reading) -> tuple[float, float]:
        """Return black and white of an image whose values they suit.

        Raises:
            RangeError: values whose range is not known, or that lie outside of it.
        """
        low, high = self._bounds(reading)
        self._check(reading, low, high)
        return low, high

    def _check(self, reading: Reading, low: float, high: float) -> None:
        if self._high.mode.startswith("I;16") and low <= 0 and high >= SIXTEEN_BITS:
            return
        found = self.values
        if low <= found.low and found.high <= high:
            return
        kind = "values" if self.is_float else "integers"
        what = f"{kind} from {found.low:g} to {found.high:g}"
        if reading.range is None:
            raise RangeError(
                f"{what}: expected 16 bits, 0 to {SIXTEEN_BITS}; say their range with "
                "--pixels.range [low, high]"
            )
        if isinstance(reading.range, tuple) and self._outside(low, high) <= OUTSIDE:
            return
        named = f"{reading.range}, " if isinstance(reading.range, str) else ""
        raise RangeError(
            f"{what}, but the range of pixels is {named}{low:g} to {high:g}; give images made as "
            "those of training, or train with another --pixels.range"
        )

    def _outside(self, low: float, high: float) -> float:
        """Return the share of values outside of the range."""
        outside = count = 0
        for _, values, _ in self.strips():
            outside += int(((values < low) | (values > high)).sum())
            count += values.size
        return outside / max(1, count)


def is_wide(image: Image.Image) -> bool:
    """Return True for an open image of more than 8 bits whose values Pillow gives."""
    return image.mode in WIDE_MODES or _other_order(image) is not None


def is_wide_colour(image: Image.Image) -> bool:
    """Return True for an image, opened and not loaded, of which Pillow drops the low bytes."""
    return _other_order(image) is not None


def _to_bytes(values: np.ndarray, low: float, high: float, *, inverted: bool) -> np.ndarray:
    scaled: Any = np.asarray(values, np.float64 if values.dtype == np.int32 else np.float32)
    scaled = (scaled - low) * (255 / (high - low))
    scaled = np.rint(scaled, out=scaled).clip(0, 255).astype(np.uint8)
    return 255 - scaled if inverted else scaled


def _raw_mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", None)
    if not tiles or not tiles[0].args:
        return ""
    arguments = tiles[0].args
    return arguments if isinstance(arguments, str) else str(arguments[0])


def _other_order(image: Image.Image) -> str | None:
    """Return the raw mode that gives the low bytes of a file of 16-bit colours."""
    raw = _raw_mode(image)
    kind, _, order = raw.partition(";16")
    if kind == "LA" and order == "B":
        return "RGBA"
    return f"{kind};16{_OTHER_ORDER[order]}" if kind in _COLOURS and order in _OTHER_ORDER else None


_COLOURS = ("RGB", "RGBA", "RGBX")


def _low_bytes(image: Image.Image) -> Image.Image | None:
    """Return the low bytes of a file of 16-bit colours, turned as it will be."""
    raw, file = _other_order(image), getattr(image, "fp", None)
    if raw is None or file is None or image.format is None:
        return None
    place = file.tell()
    file.seek(0)
    twin: Any = Image.open(file, formats=(image.format,))
    twin.tile = [
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:]))
        for tile in twin.tile
    ]
    turned = load_upright(twin)
    file.seek(place)
    return turned


def _largest_of(image: Image.Image) -> int:
    """Return the largest value that a grey file can hold, where it says so."""
    tiles: Any = getattr(image, "tile", None)
    if tiles and tiles[0].codec_name in ("ppm", "ppm_plain") and image.mode == "I":
        return int(tiles[0].args[1])
    return 4095 if _raw_mode(image) == "I;12" else SIXTEEN_BITS


def _is_stretched(image: Image.Image) -> bool:
    """Return True where Pillow stretches the values of a file to 16 bits."""
    tiles: Any = getattr(image, "tile", None)
    return bool(tiles) and tiles[0].codec_name in ("ppm", "ppm_plain") and image.mode == "I"


def _is_inverted(image: Image.Image) -> bool:
    """Return True for a TIFF in which 0 is white; Pillow turns such of 8 bits, but no others."""
    tags = getattr(image, "tag_v2", None)
    return (
        image.format == "TIFF"
        and tags is not None
        and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        and image.mode in WIDE_MODES
    )
