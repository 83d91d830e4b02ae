"""Text of strangers as it is shown: without commands to terminals, and never very long.

Names of files and classes, and whatever stands in a file, may hold escape sequences, marks that
turn the direction of text, and words that spreadsheets take for formulas.
"""

import json
import re
from reprlib import Repr
from typing import Any

_UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but for tabs and ends of lines
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of text
    "\u2028\u2029\ufeff\ufff9-\ufffb"  # ends of lines, and marks that are not seen
    "\U000e0000-\U000e007f\ud800-\udfff]"
)

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+|inf|nan)(e[+-]?\d+)?%?", re.IGNORECASE)
_MARKED_FORMULA = re.compile(r"'+[=+\-@\t\r]")


def clean(text: str) -> str:
    """Return text with everything that would change how it is shown written as an escape."""
    return _UNSHOWN.sub(lambda found: _escape(found[0]), text)


def cleaned(value: Any) -> Any:
    """Return nested lists and dictionaries with every text in them as `clean` has it."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {cleaned(key): cleaned(inner) for key, inner in value.items()}
    return [cleaned(inner) for inner in value] if isinstance(value, list | tuple) else value


def escaped_json(text: str) -> str:
    """Return JSON of the same values, in which what `clean` changes is written as an escape."""
    return _UNSHOWN.sub(lambda found: json.dumps(found[0])[1:-1], text)


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class _Short(Repr):
    """`repr` of nested values, of which some levels and values are shown, whatever their size."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, most, most, 40
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 6

    def repr_int(self, x: int, level: int) -> str:
        """A number, unless it is so long that Python does not write it."""
        return repr(x) if x.bit_length() < 256 else f"a number of {x.bit_length()} bits"

    def repr_str(self, x: str, level: int) -> str:
        """The beginning and the end of a text."""
        half = self.maxstring // 2
        return repr(x if len(x) <= self.maxstring else f"{x[:half]}...{x[-half:]}")


def quote(value: Any, most: int = 100) -> str:
    """Return a value as messages quote it: as `repr` has it, cleaned and shortened.

    It costs no more than what is shown, also of values that contain each other many times.

    Args:
        value: any.
        most: letters of a text that are shown, about.
    """
    shown = _Short(most).repr(value)
    shown = shown if len(shown) <= 4 * most else f"{shown[: 2 * most]}...{shown[-2 * most :]}"
    return clean(shown)


def cut(text: str, most: int = 200) -> str:
    """Return text without quotes, of which the middle is left out where it is longer."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


def as_cell(value: Any) -> Any:
    """Return a cell of a table that no spreadsheet takes for a formula: with ' before it."""
    if not isinstance(value, str) or not _FORMULA.match(value) or _NUMBER.fullmatch(value):
        return value
    return f"'{value}"


def of_cell(text: str) -> str:
    """Return the text that `as_cell` made a cell of."""
    return text[1:] if _MARKED_FORMULA.match(text) else text
