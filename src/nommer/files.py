"""Files that are replaced whole or not at all; and files of strangers, read with a bound."""

import csv
import io
import json
import os
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from nommer.shown import as_cell

LARGEST_READ = 1 << 30
"""Bytes of a file that is read into memory; a larger one is no image, table or list."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
"""Flags of a file that is made, and never one that is there already or that a link points to."""

_TRIES = 10 if os.name == "nt" else 0
_PAUSE = 0.05
"""Tries to rename over a file before the last, and seconds between them: scanners of viruses and
indexers open what was just written."""

_KINDS = {
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class NoPlainFileError(OSError):
    """A device, pipe or socket in the place of a file: opening it could wait for ever."""


def is_file(path: Path) -> bool:
    """Return True for a file; False also for a name that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113 - `Path.is_file` raises where a name is too long


def is_dir(path: Path) -> bool:
    """Return True for a folder; False also for a name that no folder can have."""
    return os.path.isdir(path)  # noqa: PTH112


def exists(path: Path) -> bool:
    """Return True for anything of this name; False also for a name that nothing can have."""
    return os.path.exists(path)  # noqa: PTH110


def real_path(path: Path) -> Path:
    """Return where a path leads; one through a link to itself stays what it is from there on."""
    return Path(os.path.realpath(path))  # `Path.resolve` raises for such a link


def plain_size(path: Path) -> int:
    """Return the length of a plain file, without opening it.

    Raises:
        OSError: there is none, or it is a folder, device, pipe or socket, or a link to one.
    """
    facts = path.stat()
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError(21, "Is a directory", str(path))
    if not stat.S_ISREG(facts.st_mode):
        kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "no plain file")
        raise NoPlainFileError(f"is {kind}, not a file")
    return facts.st_size


def read_plain(path: Path, largest: int = LARGEST_READ) -> bytes:
    """Read a plain file of at most `largest` bytes.

    Raises:
        OSError: there is none, it cannot be read, is no plain file, or is larger.
    """
    size = plain_size(path)
    if size > largest:
        raise NoPlainFileError(f"is too large: {size:,} bytes, over the limit of {largest:,}")
    return path.read_bytes()


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Replace the file `path` by what `write` puts into a binary stream, or leave it as it was.

    The content goes to a temporary file in the same folder, is flushed to disk, and then renamed;
    so whoever reads `path` at any moment, also after a crash, sees a whole file.

    Raises:
        OSError: the folder is read-only, the disk is full, ...; the old file is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a process of the same number that was killed
        with open(os.open(temporary, _NEW, 0o666), "wb") as stream:  # noqa: PTH123 - of a descriptor
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        _replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)  # what is full or read-only is known by this name
            error.filename2 = None
        raise
    sync_folder(path.parent)


def _replace(temporary: Path, path: Path) -> None:
    """Rename over `path`; on Windows again, for half a second, while others have that open."""
    for _ in range(_TRIES):
        try:
            temporary.replace(path)
        except PermissionError:
            time.sleep(_PAUSE)
        else:
            return
    temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Replace the text file `path` (UTF-8) atomically.

    Bytes of file names that are no UTF-8 stay what they are.
    """
    write_atomically(path, lambda stream: stream.write(text.encode(errors="surrogateescape")))


def write_json(path: Path, value: Any) -> None:
    """Replace the JSON file `path` atomically, indented and in UTF-8."""
    write_text(path, to_json(value, indent=2) + "\n")


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON text as UTF-8 can hold it.

    What a file name has that is no UTF-8 is written as an escape.
    """
    return (
        json.dumps(value, indent=indent, ensure_ascii=False)
        .encode(errors="backslashreplace")
        .decode()
    )


def as_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str] = ()) -> str:
    """Rows as CSV text, with a column for every key of any row, those of `columns` first.

    What spreadsheets would take for a formula has ' before it.
    """
    text = io.StringIO()
    columns = list(dict.fromkeys([*columns, *(key for row in rows for key in row)]))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(as_cell, columns))
    writer.writerows([as_cell(row.get(column, "")) for column in columns] for row in rows)
    return text.getvalue()


def write_csv(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows to a CSV file, with a heading also where there are none."""
    write_text(path, as_csv(rows, columns))


def sync_folder(folder: Path) -> None:
    """Make what was made or renamed in `folder` durable, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
