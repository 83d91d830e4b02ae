"""Files inside archives, read where they lie.

A member is named like a file in a folder, `photos.zip/cat/1.jpg`.

Nothing is unpacked to disk.
"""

import gzip
import lzma
import os
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from nommer.data.archive_kinds import Archive, Rows, Zip
from nommer.data.chunks import INDEX, Chunk, is_chunk
from nommer.data.lost import LostError
from nommer.data.tar_archives import Tar
from nommer.errors import InputError
from nommer.files import is_file, read_plain

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Of the names of archives that are read, in lower case."""

_SPELLED = (".zip", ".tar", ".tgz", ".arrow", ".bin")
"""One of these is in every path that leads into an archive or an Arrow file, in lower case."""

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    OSError,
)


def open_rows(path: Path) -> Rows:
    """The rows of an Arrow file.

    Raises:
        InputError: it is damaged, has no images, or the package `datasets` is not installed.
    """
    found = open_archive(path)
    assert isinstance(found, Rows)  # noqa: S101 - by its ending
    return found


def is_archive_name(path: Path) -> bool:
    """Return True for a file name that ends as archives do."""
    return path.name.lower().endswith(ENDINGS)


_mounted: dict[Path, Archive] = {}


@contextmanager
def mounted(place: Path, archive: Archive) -> Iterator[None]:
    """Let a place where no file lies be an archive while it lasts, in this process and its forks.

    Args:
        place: a path that has no folder above it.
        archive: of what is not on disk.
    """
    _mounted[place] = archive
    try:
        yield
    finally:
        del _mounted[place]


def find_archive(path: Path) -> tuple[Path, str] | None:
    """The archive that a path leads into, and the name inside it ("" for the archive itself).

    None for other paths.

    To those by their ending come Arrow files.
    """
    if _mounted and (top := Path(*path.parts[:1])) in _mounted:
        return top, "" if path == top else path.relative_to(top).as_posix()
    spelled = str(path).lower()
    if not any(
        ending in spelled for ending in _SPELLED
    ):  # asked of every image, most of which lie in folders
        return None
    for place in (path, *path.parents):
        named = is_archive_name(place) or place.suffix == ".arrow"
        if (named and is_file(place)) or is_chunk(place):
            return place, "" if place == path else path.relative_to(place).as_posix()
    return None


def open_archive(path: Path) -> Archive:
    """Open an archive; once per process, unless the file changes.

    Raises:
        InputError: it is damaged, too large to decompress, or holds a name that leads out of it, or
            one name twice.
    """
    if path in _mounted:
        return _mounted[path]
    facts = (path.parent / INDEX if is_chunk(path) else path).stat()  # a chunk may be elsewhere
    process = (
        os.getpid() if path.suffix.lower() == ".zip" else 0
    )  # processes that share an open zip move in it under each other
    return _open(path, facts.st_mtime_ns, facts.st_size, process)


def read_bytes(path: Path) -> bytes:
    """The content of a file, on disk or in an archive.

    Raises:
        OSError: there is none, or it cannot be read.
        InputError: the archive it lies in cannot be read at all.
    """
    found = find_archive(path)
    if found is None or not found[1]:
        return read_plain(path)
    archive, name = found
    try:
        return open_archive(archive).read(name)
    except KeyError:
        raise FileNotFoundError(2, "No such file in the archive", str(path)) from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise OSError(f"the archive is damaged here: {error}") from error


def pass_over_wrappers(folder: Path) -> Path:
    """The folder in an archive that holds more than one other folder, seen from `folder`.

    Archives often wrap all.
    """
    found = find_archive(folder)
    if found is None:
        return folder
    archive, inside = open_archive(found[0]), found[1]
    while len(children := folders_in(archive, inside)) == 1 and len(
        archive.below(children[0])
    ) == len(archive.below(inside)):
        inside = children[0]
    return found[0] / inside


def folders_in(archive: Archive, folder: str) -> list[str]:
    """The folders directly in a folder of an archive, sorted."""
    return sorted(name for name in archive.folders if name and posixpath.dirname(name) == folder)


_KINDS: dict[str, Callable[[Path], Archive]] = {
    ".zip": Zip,
    ".arrow": Rows,
    ".bin": Chunk,
}
"""By ending; others are tars."""


@lru_cache(maxsize=4096)
def _open(path: Path, modified: int, size: int, process: int) -> Archive:
    with _archive_errors(path):
        return _KINDS.get(path.suffix.lower(), Tar)(path)


@contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except LostError:
        raise
    except PermissionError as error:
        raise InputError(
            f"{path}: no permission to read this archive; change that (chmod +r)"
        ) from error
    except _DAMAGED as error:
        raise InputError(f"{path}: cannot be read as an archive: {error}; pack it again") from error
