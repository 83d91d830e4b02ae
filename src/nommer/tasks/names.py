"""Names for files of results, none twice."""

import hashlib
import os
import re
from collections.abc import Sequence

from nommer.data.sources import ImageSource, source_stem

_FORBIDDEN = r'[\x00-\x1f\x7f/\\<>:"|?*]' if os.name == "nt" else r"[\x00-\x1f\x7f/]"
"""Letters that no name of a file has here, or that no terminal should be sent."""

_RESERVED = r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?"
"""Names of devices to Windows, whatever follows them."""

_LONGEST = 200
"""Bytes of a name of a result, of the 255 that disks take, before a number and an ending."""


def unique_names(sources: Sequence[ImageSource]) -> list[str]:
    """Return a name for the result of each image, as `UniqueNames` finds them."""
    names = UniqueNames()
    return [names.of(source) for source in sources]


class UniqueNames:
    """Names for files of results, none twice.

    A name is the file's own without the ending, where that is taken with the least free number
    behind it. Small and capital letters are one, as some disks take them.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def of(self, source: ImageSource) -> str:
        """Return the name for the result of this image; "image" for one without a file."""
        plain = _shorten(source_stem(source))
        name, stem = plain, plain.casefold()
        while name.casefold() in self._taken:
            number = self._next.get(stem, 2)
            name, self._next[stem] = f"{plain}-{number}", number + 1
        self._taken.add(name.casefold())
        return name


def _shorten(stem: str) -> str:
    """Return a name that files here may have, with room for a number and an ending."""
    plain = re.sub(_FORBIDDEN, "_", stem)
    if os.name == "nt" and re.fullmatch(_RESERVED, plain, re.I):
        plain = f"{plain.partition('.')[0]}_"
    encoded = plain.encode(errors="surrogateescape")
    if len(encoded) <= _LONGEST:
        return plain
    tail = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{encoded[:_LONGEST].decode(errors='ignore')}-{tail}"
