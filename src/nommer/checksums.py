"""Checksums that travel with what they are of, so that damage is told when a file is read.

They tell of damage, not of who wrote a file: whoever can change one can change its checksum.
"""

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nommer.errors import InputError
from nommer.files import is_file

KEY = "sha256"
"""Entry of a description under which the checksums of files stand, by their names."""

WEIGHTS = "model.safetensors"
"""File of the weights of a model, beside its description."""

STAMP = b"\x0a\x0dnommer.sha256\x12\x40"
"""Bytes before the checksum in an ONNX file: an entry of the metadata, as protobuf has it."""

_HEXADECIMAL = "[0-9a-f]{64}"

BLANK = b"0" * 64
"""Bytes in the place of a checksum while it is computed."""


def checksum(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_file(file: Path, expected: object, source: str) -> None:
    """Refuse a file whose SHA-256 is another one than `source` says.

    Raises:
        InputError: both, and what to do.
    """
    found = checksum(file)
    if found != expected:
        raise _damaged(file, found, f"{source} has {expected!s:.64}")


def with_checksums(
    description: Mapping[str, Any], name: str, files: Mapping[str, str]
) -> dict[str, Any]:
    """A description with checksums: those of `files` beside it, and its own under its `name`."""
    told = {**description, KEY: dict(files)}
    return told | {KEY: {**files, name: _of_json(told)}}


def check_description(description: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The checksums that a description has of the files beside it; none in older ones.

    Raises:
        InputError: it is another one than was written.
    """
    told = description.get(KEY, {})
    if not isinstance(told, dict):
        raise InputError(f"{file}: {KEY} must name files, got {told!s:.40}")
    of_files = {name: value for name, value in told.items() if name != file.name}
    # weights that are gone are told by whoever opens them
    names = [name for name in of_files if name != WEIGHTS]
    lost = [name for name in names if not is_file(file.parent / name)]
    renamed = KEY not in description and any(map(_are_checksums, description.values()))
    if renamed or lost or (told and file.name not in told):
        raise InputError(
            f"{file}: is damaged: the entry of checksums, or a name in it, was changed; copy the "
            "file again"
        )
    if told and (found := _of_json({**description, KEY: of_files})) != told[file.name]:
        raise _damaged(file, found, f"it has {told[file.name]!s:.64}")
    return of_files


def _are_checksums(value: object) -> bool:
    """Tell if an entry of a description holds checksums, whatever it is called."""
    texts = value.values() if isinstance(value, dict) else ()
    return any(isinstance(text, str) and re.fullmatch(_HEXADECIMAL, text) for text in texts)


def stamped(content: bytes) -> bytes:
    """An ONNX file with its checksum in the place that `STAMP` and `BLANK` keep free for it."""
    before, found, after = content.rpartition(STAMP + BLANK)
    if not found:
        raise ValueError("the file keeps no place for a checksum")
    return before + STAMP + hashlib.sha256(content).hexdigest().encode() + after


def check_stamp(file: Path) -> None:
    """Refuse an ONNX file that is another one than was stamped; one without a stamp passes.

    Raises:
        InputError: both checksums, and what to do.
        OSError: it cannot be read.
    """
    content = bytearray(file.read_bytes())
    start = content.rfind(STAMP) + len(STAMP)
    if start < len(STAMP) or start + len(BLANK) > len(content):
        if re.search(_HEXADECIMAL.encode(), content):
            raise InputError(f"{file}: is damaged: its checksum lost its name; copy it again")
        return
    told = bytes(content[start : start + len(BLANK)])
    content[start : start + len(BLANK)] = BLANK
    found = hashlib.sha256(content).hexdigest()
    if found.encode() != told:
        raise _damaged(file, found, f"it has {told.decode(errors='replace')}")


def is_whole(file: Path, *, only: str | None = None) -> bool:
    """See whether the members of a zip, as `torch.save` writes it, have the checksums in its index.

    Args:
        file: the zip.
        only: look at the member of this name alone, in whatever folder.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if only is None or name.rpartition("/")[2] == only:
                    with archive.open(name) as member:
                        while member.read(1 << 20):
                            pass
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
    ):
        return False
    return True


def _of_json(value: Mapping[str, Any]) -> str:
    """The checksum of a description, whatever order and white space it is written in."""
    as_read = json.loads(json.dumps(value))
    text = json.dumps(as_read, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _damaged(file: Path, found: str, expected: str) -> InputError:
    return InputError(
        f"{file}: is damaged or was changed: its SHA-256 is {found}, {expected}; put back a copy, "
        f'or if the change is yours, take the entry "{KEY}" out of what tells it'
    )
