"""A JSON file of labels: whose it is, and what it holds, read once."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from nommer.data.archives import read_bytes
from nommer.data.formats.source import Source
from nommer.data.parsing import parse_json
from nommer.errors import InputError

_COCO = (b'"images"', b'"annotations"', b'"categories"')
_LABELME = (b'"shapes"', b'"imagePath"')
_PICTURE = "imageData"
"""In labelme's files, the image itself, as text."""


class JsonFile:
    """A JSON file, by the names in it; parsing all of a large one would take long.

    Args:
        kind: "coco" where two of COCO's lists are named, "labelme" where its keys are.
        content: of the file; nothing where it is neither.
    """

    def __init__(self, kind: Literal["coco", "labelme", ""], content: bytes) -> None:
        self.kind, self._content = kind, content
        self._parsed: Any = None

    def parse(self) -> Any:
        """Return the value that it describes, without the image that labelme puts there.

        Raises:
            ValueError: it is no JSON.
        """
        if self._content:
            self._parsed = parse_json(self._content)
            self._content = b""
            if self.kind == "labelme" and isinstance(self._parsed, dict):
                self._parsed.pop(_PICTURE, None)
        return self._parsed


def _is_datumaro(content: bytes) -> bool:
    """Tell if the annotations are those of items, and not of COCO's images."""
    return b'"items"' in content and b'"images"' not in content


def look_into(_: Source, path: Path) -> JsonFile:
    """Return what a file is, for `Source.once`.

    Raises:
        InputError: it cannot be read.
    """
    try:
        content = read_bytes(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if sum(mark in content for mark in _COCO) > 1 and not _is_datumaro(content):
        return JsonFile("coco", content)
    if not all(mark in content for mark in _LABELME):
        return JsonFile("", b"")
    found = JsonFile("labelme", content)
    with suppress(ValueError):  # which whoever reads it is told
        found.parse()  # now, for the images in many files would fill the memory
    return found
