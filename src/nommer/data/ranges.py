"""The range of values over all images of more than 8 bits: is it what is taken for it?"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from nommer.data.formats.labelled import Issue, problem
from nommer.data.wide import SIXTEEN_BITS, Values
from nommer.errors import InputError
from nommer.settings.pixel_range import NAMED_RANGES, PixelRange, Reading

_DARK = 16_383
"""Largest value of images of 16 bits that use so little of their range that more is lost."""

_FEW = 0.05
"""Largest share of images that may be as dark as that among others without being a problem."""


class HasValues(Protocol):
    """A report about an image."""

    @property
    def path(self) -> Path:
        """The image."""

    @property
    def values(self) -> Values | None:
        """Of an image of more than 8 bits, its least and largest value."""


def all_values(reports: Iterable[HasValues]) -> Values | None:
    """The least and the largest value of all images of more than 8 bits; None without any."""
    found = [report.values for report in reports if report.values]
    if not found:
        return None
    low, high = min(values.low for values in found), max(values.high for values in found)
    return replace(found[0], low=low, high=high)


def find_unused_range(root: Path, reports: Sequence[HasValues], reading: Reading) -> list[Issue]:
    """Return an issue where images of 16 or 32 bits hold so small values that they become dark.

    Nothing where their range was said. Files that say themselves how large values can be are scaled
    by that.
    """
    wide = [r for r in reports if r.values and not r.values.is_float]
    wide = [r for r in wide if r.values and r.values.full >= SIXTEEN_BITS]
    dark = [r for r in wide if r.values and r.values.high <= _DARK]
    if reading.range is not None or len(dark) <= _FEW * len(wide):
        return []
    highest = max(r.values.high for r in dark if r.values)
    name = next(n for n, (_, high) in NAMED_RANGES.items() if highest <= high)
    what = (
        f"{len(dark)} of {len(wide)} images of 16 or more bits hold values of 0 to {highest:,.0f}, "
        f"and {SIXTEEN_BITS:,} is white: they become nearly black"
    )
    if len(wide) > len(dark):
        what += f"; first: {dark[0].path.name}"
    advice = f"used as they are; say their range with --pixels.range {name} (or data)"
    return [problem(str(root), what, advice)]


def resolve_range(value: PixelRange, found: Values | None) -> PixelRange:
    """Return a range with that of the data in the place of "data".

    Raises:
        InputError: no image of more than 8 bits was read whole, or all have one value.
    """
    if value != "data":
        return value
    if found is None or found.low >= found.high:
        raise InputError(
            "--pixels.range data: no images of more than 8 bits with different values were read; "
            "leave it out, or give two numbers [low, high]"
        )
    return found.low, found.high
