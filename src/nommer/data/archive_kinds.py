"""The kinds of archives: zip, tar, and the Arrow files of Hugging Face datasets.

A zip and a plain tar are read member by member, by any number of threads and processes; a
compressed tar cannot be read so, and each process decompresses it once, into memory.
"""

import bz2
import gzip
import lzma
import posixpath
import struct
import tarfile
import zipfile
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import IO

from nommer.errors import InputError
from nommer.files import read_plain

_DECOMPRESS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": gzip.open,  # type: ignore[dict-item]  # opened for reading bytes, as by default
    ".tgz": gzip.open,  # type: ignore[dict-item]
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
"""By the ending of a compressed tar."""

LARGEST_IN_MEMORY = 4 << 30
"""Bytes that a compressed tar may become, in memory: nothing is unpacked to disk."""

LARGEST_MEMBER = 1 << 30
"""Bytes of a member that is read; what claims to be larger is no image."""

_ENCRYPTED = 1
"""Among the flags of a zip's member."""


class Archive(ABC):
    """The visible files of an archive: their names, sorted, and their content."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self.names = sorted(name for name in names if not _is_hidden(name))
        self.hidden = [name for name in names if _is_hidden(name)]
        twice = next((name for name, following in pairwise(self.names) if name == following), None)
        if twice is not None:
            raise InputError(f"{path}: holds {twice!r} more than once; keep one, and pack it again")
        self.folders = {parent for name in self.names for parent in _parents(name)}

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of one file; `KeyError` where there is none of this name."""

    def below(self, folder: str) -> list[str]:
        """The files in a folder, searched deeply and sorted."""
        prefix = f"{folder}/" if folder else ""
        start = bisect_left(self.names, prefix)
        end = (
            bisect_left(self.names, f"{folder}0") if folder else len(self.names)
        )  # "0" follows "/"
        return self.names[start:end]


class Zip(Archive):
    """A zip, by its directory."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
            files = [info for info in self._zip.infolist() if not info.is_dir()]
        except (
            NotImplementedError,
            ValueError,
            IndexError,
            struct.error,
        ) as error:  # of headers without sense
            raise zipfile.BadZipFile(str(error)) from error
        _check_separators(path, files)
        names = [_sound(path, info.filename) for info in files]
        super().__init__(path, names)
        self._members = dict(zip(names, files, strict=True))

    def read(self, name: str) -> bytes:
        """The content of one file; `KeyError` where there is none of this name."""
        info = self._members[name]
        _check_size(info.file_size)
        if info.flag_bits & _ENCRYPTED:
            raise OSError("encrypted; pack the archive again without a password")
        try:
            return self._zip.read(info)
        except (
            RuntimeError,
            NotImplementedError,
            lzma.LZMAError,
        ) as error:  # compressed in a rare way
            raise OSError(str(error)) from error


@dataclass(frozen=True)
class _Place:
    """Where the content of a tar's member lies."""

    start: int
    size: int
    """Of the content in bytes; negative for a link to nothing."""
    pieces: tuple[tuple[int, int], ...] | None = None
    """Of a sparse member, where each stored piece goes and how long it is; all else is zeros."""


class Tar(Archive):
    """A tar, by the place of each member in its bytes."""

    def __init__(self, path: Path) -> None:
        self._path, self._content = path, _decompress(path) if _is_compressed(path) else None
        places: list[tuple[str, _Place]] = []
        links: list[tuple[str, str]] = []
        source = path.open("rb") if self._content is None else BytesIO(self._content)
        with source, tarfile.open(fileobj=source, mode="r:") as tar:
            for member in tar:
                if member.isfile():
                    places.append((_sound(path, member.name), _place_of(member)))
                elif member.islnk() or member.issym():
                    links.append((_sound(path, member.name), _target(member)))
                tar.members = []  # type: ignore[attr-defined]  # or it would keep them all
            _check_end(source, tar.offset)
        super().__init__(path, [name for name, _ in (*places, *links)])
        self._places = dict(places)
        for name, target in links:
            self._places[name] = self._places.get(target, _Place(0, -1))

    def read(self, name: str) -> bytes:
        """The content of one file; `KeyError` where there is none of this name."""
        place = self._places[name]
        if place.size < 0:
            raise OSError("a link to what the archive does not hold")
        _check_size(place.size)
        if place.pieces is None:
            return self._stored(place.start, place.size)
        stored = self._stored(place.start, sum(length for _, length in place.pieces))
        return _fill_holes(stored, place.pieces, place.size)

    def _stored(self, start: int, size: int) -> bytes:
        if self._content is not None:
            return self._content[start : start + size]
        with self._path.open("rb") as stream:  # its own, so that nobody else moves in it
            stream.seek(start)
            return stream.read(size)


def _place_of(member: tarfile.TarInfo) -> _Place:
    sparse = getattr(member, "sparse", None)
    pieces = None if sparse is None else tuple((int(at), int(length)) for at, length in sparse)
    return _Place(member.offset_data, member.size, pieces)


def _fill_holes(stored: bytes, pieces: Sequence[tuple[int, int]], size: int) -> bytes:
    """The content of a sparse member, whose stored pieces follow each other.

    Raises:
        OSError: pieces that overlap, or lie outside of it.
    """
    content, taken, end = bytearray(size), 0, 0
    for at, length in pieces:
        if length < 0 or at < end or at + length > size or taken + length > len(stored):
            raise OSError("a sparse file whose pieces do not fit; pack it again without -S")
        content[at : at + length] = stored[taken : taken + length]
        taken, end = taken + length, at + length
    return bytes(content)


class Rows(Archive):
    """An Arrow file of a Hugging Face dataset; its rows are files, named by their number."""

    def __init__(self, path: Path) -> None:
        datasets = _import_datasets(path)
        self.rows = datasets.Dataset.from_file(str(path))
        images = [
            name
            for name, feature in self.rows.features.items()
            if isinstance(feature, datasets.Image)
        ]
        if not images:
            raise InputError(f"{path}: no column of images; found {', '.join(self.rows.features)}")
        self._images = self.rows.select_columns(images[:1]).cast_column(
            images[0], datasets.Image(decode=False)
        )
        self._column = images[0]
        super().__init__(path, [row_name(number) for number in range(len(self.rows))])

    def read(self, name: str) -> bytes:
        """The image file in one row; `KeyError` where there is no such row."""
        number = int(name) if name.isdecimal() else -1
        if not 0 <= number < len(self._images):
            raise KeyError(name)
        image = self._images[number][self._column]
        if image is None:
            raise OSError("the row has no image")
        return image["bytes"] or read_plain(Path(image["path"]))


def row_name(number: int) -> str:
    """Return the name of a row of an Arrow file."""
    return f"{number:06}"


def _import_datasets(path: Path) -> ModuleType:
    try:
        return import_module("datasets")
    except ImportError as error:
        raise InputError(
            f"{path}: reading this takes the package datasets: pip install 'nommer[data]'"
        ) from error


def _is_compressed(path: Path) -> bool:
    return path.suffix.lower() in _DECOMPRESS


def _decompress(path: Path) -> bytes:
    with _DECOMPRESS[path.suffix.lower()](path) as stream:
        content = stream.read(LARGEST_IN_MEMORY + 1)
    if len(content) > LARGEST_IN_MEMORY:
        raise InputError(
            f"{path}: decompresses to more than {LARGEST_IN_MEMORY >> 30} GiB, which is held in "
            "memory; unpack it, or "
            "pack it as a plain .tar or .zip, which need not be"
        )
    return content


def _check_separators(archive: Path, files: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse a zip that some programs of Windows write.

    Its names are paths there, but single files elsewhere.
    """
    names = [info.filename for info in files]
    wrong = next((name for name in names if "\\" in name), None)
    if wrong is not None and not any("/" in name for name in names):
        raise InputError(
            f"{archive}: holds {wrong}, a name with backslashes where zip has slashes, so no "
            "folders are found in it; "
            "unpack it where it was made, and pack it again with another program"
        )


def _sound(archive: Path, name: str) -> str:
    """A name in an archive as a path below it.

    Raises:
        InputError: it leads out of the archive.
    """
    plain = posixpath.normpath(name)
    if plain.startswith(("/", "../")) or plain == "..":
        raise InputError(
            f"{archive}: holds {name!r}, a name that leads out of the archive; pack it again "
            "without"
        )
    return plain


def _check_end(tar: IO[bytes], offset: int) -> None:
    """Refuse a tar that is not read to its end, where `tarfile` stops in silence.

    So it does at a header that makes no sense, in place of the mark of the end, and at that mark
    though another archive may follow.
    """
    tar.seek(offset)
    if tar.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError(
            f"damaged, or cut, at byte {offset:,}: what follows there cannot be read"
        )
    while block := tar.read(1 << 20):
        if block.strip(tarfile.NUL):
            raise tarfile.ReadError(
                f"more follows behind its end, at byte {offset:,}, such as a second archive"
            )


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
