"""Files of labels as text, YAML, JSON and XML: plain files of bounded size, nested but so deep."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from nommer.data.archives import find_archive, read_bytes
from nommer.files import plain_size

_MEBI = 1 << 20

LARGEST_DESCRIPTION = 64 * _MEBI
"""Bytes of a description of classes, which is read whole: YAML, JSON or XML."""

DEEPEST = 200
"""Levels that values may be nested."""


def read_text(path: Path, *, errors: str = "strict") -> str:
    """Return the text of a file in UTF-8, without a mark of the order of bytes.

    Raises:
        OSError: there is none, it cannot be read, or is no plain file.
        ValueError: it is no UTF-8.
    """
    return read_bytes(path).decode("utf-8-sig", errors)


def head_of(path: Path, size: int) -> str:
    """Return the first `size` bytes of a plain file as text; "" where there is no such file.

    What is no UTF-8 (or UTF-16 with a mark) is replaced: this is for a look, not for reading.
    """
    try:
        if find_archive(path):
            head = read_bytes(path)[:size]
        else:
            plain_size(path)
            with path.open("rb") as stream:
                head = stream.read(size)
    except OSError:
        return ""
    wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    return head.decode("utf-16" if wide else "utf-8-sig", errors="replace")


def parse_json(content: str | bytes, **options: Any) -> Any:
    """Return the value that JSON text describes.

    Raises:
        ValueError: it is none, or is nested very deeply.
    """
    try:
        return json.loads(content, **options)
    except RecursionError as error:
        raise ValueError("values are nested too deeply") from error


def parse_yaml(text: str, loader: Any) -> Any:
    """Return the value that YAML text describes.

    Raises:
        ValueError: it is very long, or is nested very deeply.
        yaml.YAMLError: it is no YAML.
    """
    if len(text) > LARGEST_DESCRIPTION:
        raise ValueError(f"has {len(text):,} letters, over the limit of {LARGEST_DESCRIPTION:,}")
    _check_brackets(text)
    try:
        return yaml.load(text, loader)  # noqa: S506 - only safe ones are given
    except RecursionError as error:
        raise ValueError("values are nested too deeply") from error


def _check_brackets(text: str) -> None:
    """Refuse brackets within brackets before they are parsed, which takes the longer the more."""
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        if depth > DEEPEST:
            raise ValueError("values are nested too deeply")


def parse_xml(content: bytes) -> ElementTree.Element:
    """Return the root of an XML file, by its content.

    Raises:
        ValueError: it is no XML, in an unknown encoding, very long or nested very deeply.
    """
    if len(content) > LARGEST_DESCRIPTION:
        raise ValueError(f"has {len(content):,} bytes, over the limit of {LARGEST_DESCRIPTION:,}")
    try:
        # expat loads no entities and bounds their growth
        parser: ElementTree.XMLPullParser[Any] = ElementTree.XMLPullParser(["start", "end"])
        parser.feed(content)
        parser.close()
        return _root(parser)
    except (ElementTree.ParseError, LookupError, RecursionError) as error:
        raise ValueError(f"is no XML: {error}") from error


def _root(parser: "ElementTree.XMLPullParser[Any]") -> ElementTree.Element:
    root: ElementTree.Element | None = None
    events: Any = parser.read_events()
    depth = 0
    for event, element in events:
        depth += 1 if event == "start" else -1
        root = element if root is None else root
        if depth > DEEPEST:
            raise ValueError(f"elements are nested over {DEEPEST} levels deep")
    if root is None:
        raise ValueError("has no elements")
    return root
