"""Durations as people write them."""

import re

from nommer.errors import InputError

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
"""Seconds of the units of a duration."""


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as "90s", "30m", "8h" or "1d12h30m".

    Raises:
        InputError: it is none, or nothing.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not seconds:
        raise InputError(
            f"--time-limit {text!r} is no duration; give one such as 90s, 30m, 8h or 1d12h"
        )
    return seconds
