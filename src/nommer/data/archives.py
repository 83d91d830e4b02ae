"""Files inside archives, read where they lie: a member is named like a file in a folder, `photos.zip/cat/1.jpg`.

Nothing is unpacked to disk. A zip and a plain tar are read member by member, by any number of threads and processes; a
compressed tar cannot be read so, and each process decompresses it once, into memory.
"""

import bz2
import gzip
import lzma
import os
import posixpath
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import IO

from nommer.errors import InputError

_DECOMPRESS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": gzip.open,  # type: ignore[dict-item]  # opened for reading bytes, as by default
    ".tgz": gzip.open,  # type: ignore[dict-item]
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
"""By the ending of a compressed tar."""

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Of the names of archives that are read, in lower case."""

LARGEST_IN_MEMORY = 4 << 30
"""Bytes that a compressed tar may decompress to."""

LARGEST_MEMBER = 1 << 30
"""Bytes of a member that is read; what claims to be larger is no image."""

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, OSError)


class Archive(ABC):
    """What an archive holds: the names of its visible files, sorted, and their content."""

    def __init__(self, names: list[str]) -> None:
        self.names = sorted(name for name in names if not _is_hidden(name))
        self.folders = {parent for name in self.names for parent in _parents(name)}

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of one file; `KeyError` where there is none of this name."""

    def below(self, folder: str) -> list[str]:
        """The files in a folder, searched deeply and sorted."""
        prefix = f"{folder}/" if folder else ""
        start = bisect_left(self.names, prefix)
        end = bisect_left(self.names, f"{folder}0") if folder else len(self.names)  # "0" follows "/"
        return self.names[start:end]


class _Zip(Archive):
    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
            files = [info for info in self._zip.infolist() if not info.is_dir()]
        except (NotImplementedError, ValueError, IndexError, struct.error) as error:  # of headers without sense
            raise zipfile.BadZipFile(str(error)) from error
        self._members = {_sound(path, info.filename): info for info in files}
        super().__init__(list(self._members))

    def read(self, name: str) -> bytes:
        info = self._members[name]
        _check_size(info.file_size)
        try:
            return self._zip.read(info)
        except (RuntimeError, NotImplementedError, lzma.LZMAError) as error:  # encrypted, or compressed in a rare way
            raise OSError(str(error)) from error


class _Tar(Archive):
    """A tar, by the place of each member in its bytes."""

    def __init__(self, path: Path) -> None:
        self._path, self._content = path, _decompress(path) if _is_compressed(path) else None
        self._places: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        source = path.open("rb") if self._content is None else BytesIO(self._content)
        with source, tarfile.open(fileobj=source, mode="r:") as tar:
            for member in tar:
                if member.isfile():
                    self._places[_sound(path, member.name)] = member.offset_data, member.size
                elif member.islnk() or member.issym():
                    links[_sound(path, member.name)] = _target(member)
                tar.members = []  # type: ignore[attr-defined]  # or it would keep them all
            _check_end(source, tar.offset)
        super().__init__([*self._places, *links])
        for name, target in links.items():
            self._places[name] = self._places.get(target, (0, -1))

    def read(self, name: str) -> bytes:
        start, size = self._places[name]
        if size < 0:
            raise OSError("a link to what the archive does not hold")
        _check_size(size)
        if self._content is not None:
            return self._content[start : start + size]
        with self._path.open("rb") as stream:  # its own, so that nobody else moves in it
            stream.seek(start)
            return stream.read(size)


class Rows(Archive):
    """An Arrow file of a Hugging Face dataset; its rows are files, named by their number."""

    def __init__(self, path: Path) -> None:
        datasets = _import_datasets(path)
        self.rows = datasets.Dataset.from_file(str(path))
        images = [name for name, feature in self.rows.features.items() if isinstance(feature, datasets.Image)]
        if not images:
            raise InputError(f"{path}: no column of images; found {', '.join(self.rows.features)}")
        self._images = self.rows.select_columns(images[:1]).cast_column(images[0], datasets.Image(decode=False))
        self._column = images[0]
        super().__init__([row_name(number) for number in range(len(self.rows))])

    def read(self, name: str) -> bytes:
        """The image file in one row; `KeyError` where there is no such row."""
        number = int(name) if name.isdecimal() else -1
        if not 0 <= number < len(self._images):
            raise KeyError(name)
        image = self._images[number][self._column]
        if image is None:
            raise OSError("the row has no image")
        return image["bytes"] or Path(image["path"]).read_bytes()


def row_name(number: int) -> str:
    """What a row of an Arrow file is called."""
    return f"{number:06}"


def open_rows(path: Path) -> Rows:
    """The rows of an Arrow file.

    Raises:
        InputError: it is damaged, has no images, or the package `datasets` is not installed.
    """
    found = open_archive(path)
    assert isinstance(found, Rows)  # noqa: S101 - by its ending
    return found


def _import_datasets(path: Path) -> ModuleType:
    try:
        return import_module("datasets")
    except ImportError as error:
        raise InputError(f"{path}: reading this takes the package datasets: pip install 'nommer[datasets]'") from error


def is_archive_name(path: Path) -> bool:
    """Whether the file name ends as archives do."""
    return path.name.lower().endswith(ENDINGS)


def find_archive(path: Path) -> tuple[Path, str] | None:
    """The archive that a path leads into, and the name inside it ("" for the archive itself); None for other paths.

    To those by their ending come Arrow files.
    """
    for place in (path, *path.parents):
        if (is_archive_name(place) or place.suffix == ".arrow") and place.is_file():
            return place, "" if place == path else path.relative_to(place).as_posix()
    return None


def open_archive(path: Path) -> Archive:
    """What an archive holds; looked up once per process, unless the file changes.

    Raises:
        InputError: it is damaged, too large to decompress, or holds names that lead out of it.
    """
    facts = path.stat()
    process = os.getpid() if path.suffix.lower() == ".zip" else 0  # processes may not share an open zip
    return _open(path, facts.st_mtime_ns, facts.st_size, process)


def read_bytes(path: Path) -> bytes:
    """The content of a file, on disk or in an archive.

    Raises:
        OSError: there is none, or it cannot be read.
        InputError: the archive it lies in cannot be read at all.
    """
    found = find_archive(path)
    if found is None or not found[1]:
        return path.read_bytes()
    archive, name = found
    try:
        return open_archive(archive).read(name)
    except KeyError:
        raise FileNotFoundError(2, "No such file in the archive", str(path)) from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise OSError(f"the archive is damaged here: {error}") from error


def pass_over_wrappers(folder: Path) -> Path:
    """The folder in an archive that holds more than one other folder, seen from `folder`; archives often wrap all."""
    found = find_archive(folder)
    if found is None:
        return folder
    archive, inside = open_archive(found[0]), found[1]
    while len(children := folders_in(archive, inside)) == 1 and len(archive.below(children[0])) == len(
        archive.below(inside)
    ):
        inside = children[0]
    return found[0] / inside


def folders_in(archive: Archive, folder: str) -> list[str]:
    """The folders directly in a folder of an archive, sorted."""
    return sorted(name for name in archive.folders if name and posixpath.dirname(name) == folder)


_KINDS: dict[str, Callable[[Path], Archive]] = {".zip": _Zip, ".arrow": Rows}
"""By ending; others are tars."""


@lru_cache(maxsize=4096)
def _open(path: Path, modified: int, size: int, process: int) -> Archive:
    with _archive_errors(path):
        return _KINDS.get(path.suffix.lower(), _Tar)(path)


@contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise InputError(f"{path}: cannot be read as an archive: {error}; pack it again") from error


def _is_compressed(path: Path) -> bool:
    return path.suffix.lower() in _DECOMPRESS


def _decompress(path: Path) -> bytes:
    with _DECOMPRESS[path.suffix.lower()](path) as stream:
        content = stream.read(LARGEST_IN_MEMORY + 1)
    if len(content) > LARGEST_IN_MEMORY:
        raise InputError(
            f"{path}: decompresses to more than {LARGEST_IN_MEMORY >> 30} GiB, which is held in memory; unpack it, or "
            "pack it as a plain .tar or .zip, which need not be"
        )
    return content


def _sound(archive: Path, name: str) -> str:
    """A name in an archive as a path below it.

    Raises:
        InputError: it leads out of the archive.
    """
    plain = posixpath.normpath(name)
    if plain.startswith(("/", "../")) or plain == "..":
        raise InputError(f"{archive}: holds {name!r}, a name that leads out of the archive; pack it again without")
    return plain


def _check_end(tar: IO[bytes], offset: int) -> None:
    """Refuse a tar whose last header found is not followed by the mark of its end; `tarfile` stops there in silence."""
    tar.seek(offset)
    if tar.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"damaged, or cut, at byte {offset:,}: what follows there cannot be read")


def _target(link: tarfile.TarInfo) -> str:
    base = "" if link.islnk() else posixpath.dirname(link.name)
    return posixpath.normpath(posixpath.join(base, link.linkname))


def _check_size(size: int) -> None:
    if size > LARGEST_MEMBER:
        raise OSError(f"too large: {size:,} bytes, over the limit of {LARGEST_MEMBER:,}")


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX/")) or "/." in name


def _parents(name: str) -> Iterator[str]:
    while name:
        name = posixpath.dirname(name)
        yield name
