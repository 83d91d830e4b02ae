"""The values that images of more than 8 bits hold, and how image files become 8-bit RGB."""

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from nommer.errors import InputError

RangeName: TypeAlias = Literal["8bit", "10bit", "12bit", "14bit", "16bit", "unit", "data"]

PixelRange: TypeAlias = RangeName | tuple[float, float] | None
"""Black and white of images of more than 8 bits: by name, as two numbers, or by default 16 bits."""

NAMED_RANGES: dict[str, tuple[float, float]] = {
    "8bit": (0, 255),
    "10bit": (0, 1023),
    "12bit": (0, 4095),
    "14bit": (0, 16_383),
    "16bit": (0, 65_535),
    "unit": (0, 1),
}
"""Black and white of each name; those of "data" are found in the data, before training."""


@dataclass(frozen=True)
class Reading:
    """The reading of image files as 8-bit RGB, in training as in prediction."""

    background: tuple[int, int, int] = (255, 255, 255)
    """Colour (0-255) that shows through transparent pixels."""
    range: PixelRange = None
    """Black and white of images of more than 8 bits."""

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Black and white as numbers; None where nothing was said."""
        if self.range is None or self.range == "data":
            return None
        return NAMED_RANGES[self.range] if isinstance(self.range, str) else self.range


def check_range(value: Any) -> PixelRange:
    """Return a range as it is used: a name, two numbers, or None.

    Raises:
        InputError: anything else.
    """
    if value is None or (isinstance(value, str) and value in (*NAMED_RANGES, "data")):
        return value  # type: ignore[return-value]  # one of the names
    numbers = list(value) if isinstance(value, list | tuple) else []
    if len(numbers) == 2 and all(_is_finite(number) for number in numbers):
        low, high = (float(number) for number in numbers)
        if low < high:
            return low, high
    names = ", ".join((*NAMED_RANGES, "data"))
    raise InputError(
        f"pixels.range must be one of {names}, or two numbers [low, high] with low < high, got "
        f"{str(value)[:100]!r}"
    )


def _is_finite(number: Any) -> bool:
    return (
        isinstance(number, int | float)
        and not isinstance(number, bool)
        and abs(number) < 1e30
        and math.isfinite(number)
    )
