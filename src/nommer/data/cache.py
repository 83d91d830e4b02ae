"""Decoded samples, kept for the epochs to come.

In memory or in one file, shared by all processes of a machine.

The pixels are those that the decoder gave, in full, since random crops need them all, and so that
whatever follows computes the same numbers with a cache and without. They lie one after the other in
one file that every process maps and none copies: for "ram" a file in memory that has no name and
ends with the run, for "disk" one in the run folder.
"""

import errno
import mmap
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from nommer.data.images import ImageError
from nommer.data.parallel import read_all
from nommer.errors import InputError
from nommer.progress import notice
from nommer.settings.choices import CacheKind

Decoded: TypeAlias = tuple[Any, ...]
"""One decoded sample: an RGB image, and where a task has them (H, W) uint8 labels."""

_TRIED = 64
"""Samples that are decoded for an estimate of the size of all."""

_MARGIN = 0.9
"""Share of the room found that a cache may fill."""

_NEW = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)

_PREFIX = "nommer-cache-"

_MEMORY_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Files in which containers say how much memory they may use, and do."""


class DecodedCache:
    """Decoded samples, read-only.

    Args:
        path: the file that a `CacheFile` filled.
        first: which of its samples is number 0 here.
    """

    def __init__(self, path: str, first: int = 0) -> None:
        self.path, self.first = path, first
        with Path(path).open("rb") as stream:
            self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        end, samples, parts = np.frombuffer(
            self._bytes, np.int64, 3, len(self._bytes) - 24
        ).tolist()
        self._places = np.frombuffer(self._bytes, np.int64, samples * parts * 4, end).reshape(
            samples, parts, 4
        )

    def __reduce__(self) -> tuple[type["DecodedCache"], tuple[str, int]]:
        return type(self), (self.path, self.first)  # another process maps it for itself

    def get(self, index: int) -> Decoded | None:
        """Return a decoded sample; None for one that could not be decoded."""
        places = self._places[self.first + index].tolist()
        return tuple(self._part(*place) for place in places) if places[0][1] else None

    def _part(self, start: int, height: int, width: int, channels: int) -> Image.Image | np.ndarray:
        content = memoryview(self._bytes)[start : start + height * width * max(1, channels)]
        if channels:
            return Image.frombuffer("RGB", (width, height), content, "raw", "RGB", 0, 1)  # type: ignore[arg-type]
        return (
            np.frombuffer(content, np.uint8).reshape(height, width).copy()
        )  # for transforms may write


class CacheFile:
    """The file of a cache, by whoever fills it.

    Args:
        kind: "ram" or "disk".
        folder: where "disk" puts it.
        name: of the file there.
    """

    def __init__(self, kind: CacheKind, folder: Path, name: str) -> None:
        self.kind, self.folder = kind, folder
        self._in_memory = kind == "ram"
        self.path = str(folder / name)
        if kind == "disk":
            self._file = os.open(self.path, _NEW, 0o600)
        elif hasattr(os, "memfd_create"):
            self._file = os.memfd_create(
                "nommer", os.MFD_CLOEXEC
            )  # not limited as /dev/shm is in containers
            # other processes open by this path what has no name
            self.path = f"/proc/{os.getpid()}/fd/{self._file}"
        else:
            self.folder, self._in_memory = Path(tempfile.gettempdir()), False
            notice(f"--cache ram: this system has no files in memory; one in {self.folder} is kept")
            _remove_left(self.folder)
            self._file, self.path = tempfile.mkstemp(prefix=_PREFIX)
        self._end = multiprocessing.get_context("fork" if hasattr(os, "fork") else None).Value(
            "q", 0
        )
        room = self.room()
        self._room = None if room is None else int(_MARGIN * room)

    def close(self) -> None:
        """Give it up; who has it open keeps it until done."""
        os.close(self._file)
        if not self.path.startswith("/proc/"):
            with suppress(OSError):
                Path(self.path).unlink()

    def room(self) -> int | None:
        """Bytes free where it lies; None where nobody knows."""
        return available_memory() if self._in_memory else shutil.disk_usage(self.folder).free

    def fill(self, decode: Callable[[int], Decoded], samples: int) -> None:
        """Decode all samples, several at a time, and say how large they are.

        Those that cannot be are left out.

        Raises:
            InputError: there is no room for them.
        """
        about = self._estimate(decode, samples)
        where = "memory" if self._in_memory else self.path
        notice(f"keeping {samples:,} decoded images in {where}: about {show_bytes(about)}")
        if self._room is not None and about > self._room:
            raise self._no_room(samples, about)
        try:
            places = read_all(
                lambda index: self._keep(_decoded(decode, index)),
                range(samples),
                what="filling cache",
            )
            parts = max(map(len, places))
            table = np.zeros((samples, parts, 4), np.int64)
            for row, place in enumerate(places):
                if place:
                    table[row] = place
            self._append(b"\0" * (-self._end.value % 8))  # numbers must lie where 8 divides
            start = self._append(table.tobytes())
            self._append(np.array([start, samples, parts], np.int64).tobytes())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT):
                raise self._no_room(samples, about) from error
            raise

    def _estimate(self, decode: Callable[[int], Decoded], samples: int) -> int:
        tried = range(0, samples, max(1, samples // _TRIED))
        sizes = [sum(array.nbytes for array in _decoded(decode, index)) for index in tried]
        return sum(sizes) * samples // len(sizes)

    def _keep(self, arrays: Sequence[np.ndarray]) -> list[tuple[int, int, int, int]]:
        """Return the place of each array of a sample, with its height, width and channels.

        Nothing for one without any.
        """
        kept = []
        for array in arrays:
            height, width, *channels = array.shape
            kept.append(
                (self._append(np.ascontiguousarray(array)), height, width, *(channels or [0]))
            )
        return kept

    def _append(self, content: Any) -> int:
        content = memoryview(content).cast("B")
        with self._end.get_lock():
            start = self._end.value
            self._end.value += len(content)
        if self._room is not None and start + len(content) > self._room:
            raise OSError(errno.ENOSPC, "larger than estimated")
        self._write(content, start)
        return start

    def _write(self, content: memoryview, start: int) -> None:
        """Write where nobody else does: at once, or in turns where the place is set apart."""
        written = 0
        if hasattr(os, "pwrite"):
            while written < len(content):
                written += os.pwrite(self._file, content[written:], start + written)
            return
        with self._end.get_lock():  # Windows, where threads alone write
            os.lseek(self._file, start, os.SEEK_SET)
            while written < len(content):
                written += os.write(self._file, content[written:])

    def _no_room(self, samples: int, about: int) -> InputError:
        free = show_bytes(self.room() or 0)
        if self._in_memory:
            found, instead = f"{free} of memory are free", "--cache disk"
        else:
            other = "another --out" if self.kind == "disk" else "--cache disk"
            found, instead = f"{free} are free in {self.folder}", other
        return InputError(
            f"--cache {self.kind}: {samples:,} decoded images take about {show_bytes(about)}, and "
            f"{found}; "
            f"use {instead}, or leave it out"
        )


def _decoded(decode: Callable[[int], Decoded], index: int) -> list[np.ndarray]:
    """Return a decoded sample as arrays.

    Nothing where it cannot be decoded, which using it will say again.
    """
    try:
        return [np.asarray(part) for part in decode(index)]
    except ImageError:
        return []


def _remove_left(folder: Path) -> None:
    """Remove caches of runs that ended, where a file cannot be removed while it is open.

    There the run itself could not: it still read in them.
    """
    if os.name == "nt":
        for left in folder.glob(f"{_PREFIX}*"):
            with suppress(OSError):  # of a run that goes on
                left.unlink()


def available_memory() -> int | None:
    """Bytes of memory that can be had without another program losing its own.

    None where the system does not say.
    """
    free = []
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free.append(
            1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
        )
    for limit, used in _MEMORY_LIMITS:
        with suppress(OSError, ValueError):  # also "max", for no limit
            free.append(
                int(Path(limit).read_text(encoding="ascii"))
                - int(Path(used).read_text(encoding="ascii"))
            )
    return max(0, min(free)) if free else None


def show_bytes(number: float) -> str:
    """A size for people."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1e3:.1f} kB"
