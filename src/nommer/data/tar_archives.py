"""Tar archives, by the place of each member in their bytes.

A plain tar is read member by member, by any number of threads and processes; a compressed one
cannot be read so, and each process decompresses it once, into memory.
"""

import bz2
import gzip
import lzma
import posixpath
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from nommer.data.archive_kinds import Archive, check_size, sound_name
from nommer.errors import InputError

_DECOMPRESS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": gzip.open,  # type: ignore[dict-item]  # opened for reading bytes, as by default
    ".tgz": gzip.open,  # type: ignore[dict-item]
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
"""By the ending of a compressed tar."""

LARGEST_IN_MEMORY = 4 << 30
"""Bytes that a compressed tar may become, in memory: nothing is unpacked to disk."""


@dataclass(frozen=True)
class _Place:
    """The place of the content of a tar's member."""

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
                    places.append((sound_name(path, member.name), _place_of(member)))
                elif member.islnk() or member.issym():
                    links.append((sound_name(path, member.name), _target(member)))
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
        check_size(place.size)
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
