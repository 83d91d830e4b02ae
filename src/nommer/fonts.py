"""Letters for names in any script: a font of this system that has them, or numbers in their place.

Pillow's own font has hardly more than ASCII; matplotlib brings DejaVu Sans, which has most
alphabets; of what that lacks, such as Chinese, a font of the system is looked for.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

_MOST_FONTS = 500
"""Fonts of the system that are looked at, at most."""

_BROAD = re.compile(r"noto|cjk|unifont|unicode|droid|wqy|hei|ming|gothic|nanum|lohit", re.I)
"""Names of fonts that are likely to have many letters, which are looked at first."""

_numbers: dict[str, str] = {}
"""Of letters that no font here has, what stands in their place."""


@dataclass(frozen=True)
class Lettering:
    """A font, and the letters that it lacks."""

    path: str | None
    """None for Pillow's own."""
    lacking: frozenset[str] = frozenset()

    def font(self, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        """The font at a height in pixels."""
        if self.path is None:
            return ImageFont.load_default(size)
        return ImageFont.truetype(self.path, size)

    def shown(self, text: str) -> str:
        """A text with "name 1" and so on in the place of letters that the font lacks."""
        if self.lacking.isdisjoint(text):
            return text
        letters = "".join(map(re.escape, sorted(self.lacking)))
        return re.sub(f"[{letters}]([{letters}\\s]*[{letters}])?", _number, text)


def _number(found: "re.Match[str]") -> str:
    return _numbers.setdefault(found[0], f"name {len(_numbers) + 1}")


def lettering_for(texts: Iterable[str]) -> Lettering:
    """The font that has most of the letters of `texts`."""
    letters = frozenset("".join(texts))
    needed = frozenset(letter for letter in letters if letter.isprintable() and letter != " ")
    if all(letter.isascii() for letter in needed):
        return Lettering(None)
    return _find(needed)


@cache
def _find(needed: frozenset[str]) -> Lettering:
    best, lacking = None, frozenset(letter for letter in needed if not letter.isascii())
    for path in _font_files():
        left = frozenset(letter for letter in needed if ord(letter) not in _letters_of(path))
        if len(left) < len(lacking) and _is_usable(path):
            best, lacking = path, left
        if not lacking:
            break
    return Lettering(best, lacking)


@cache
def _font_files() -> tuple[str, ...]:
    """The files of fonts, matplotlib's own first, then those that have many letters.

    None without matplotlib, which finds them.
    """
    if find_spec("matplotlib") is None:
        return ()
    from matplotlib import font_manager  # noqa: PLC0415 - takes long, and is seldom needed

    own = font_manager.findfont("DejaVu Sans")
    others = {entry.fname for entry in font_manager.fontManager.ttflist} - {own}
    ranked = sorted(others, key=lambda path: (not _BROAD.search(Path(path).name), path))
    return (own, *ranked[:_MOST_FONTS])


@cache
def _letters_of(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font  # noqa: PLC0415

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a font file that is damaged, or of another kind
        return frozenset()


def _is_usable(path: str) -> bool:
    try:
        ImageFont.truetype(path, 16)
    except OSError:  # of coloured pictures in fixed sizes, for one
        return False
    return True


def legend(names: Iterable[str]) -> str:
    """Return the legend of numbers in pictures, for names that no font can show; "" without."""
    names = tuple(names)
    lettering = lettering_for(names)
    shown = {name: lettering.shown(name) for name in names}
    told = [f"{written} is {name}" for name, written in shown.items() if written != name]
    if not told:
        return ""
    more = f", ... {len(told)} in all" if len(told) > 20 else ""
    lacks = "" if find_spec("matplotlib") else " and matplotlib, which finds it"
    return (
        "no font of this system has the letters of some class names, so pictures show numbers: "
        f"{', '.join(told[:20])}{more}; install a font that has them, such as Noto Sans CJK{lacks}"
    )
