"""Large images take turns, so that many readers together need the memory of few.

Small ones, of up to `_FREE` pixels, are read as they come. Of larger ones so many are held at a
time as make up `_TOGETHER` pixels, over all threads and processes of a machine that read together;
one that alone has more waits until it is the only one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Condition

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FREE = 16_000_000
_TOGETHER = 128_000_000
_UNIT = 4_000_000
_UNITS = _TOGETHER // _UNIT

_STRIP = 1 << 20
"""Pixels that are worked on at a time."""


class _Turns:
    """Units of memory that are taken and given back.

    Threads of a process count together; forked processes lock ranges of one file without a name,
    which the system gives back whatever ends them.
    """

    def __init__(self) -> None:
        self._file: int | None = None
        self._maker = 0
        self.forget()

    def share(self) -> None:
        """Let the processes that are forked from now on take turns with each other."""
        if self._file is None and fcntl is not None and hasattr(os, "memfd_create"):
            with suppress(OSError):
                self._file, self._maker = os.memfd_create("nommer-turns"), os.getpid()

    def forget(self) -> None:
        """Begin anew in a process that was just forked, which holds nothing."""
        self._used, self._changed = 0, Condition()

    @contextmanager
    def take(self, units: int) -> Iterator[None]:
        """Hold so many units, once they are free."""
        with self._changed:
            self._changed.wait_for(lambda: self._used + units <= _UNITS)
            self._used += units
        try:
            with self._range(units):
                yield
        finally:
            with self._changed:
                self._used -= units
                self._changed.notify_all()

    @contextmanager
    def _range(self, units: int) -> Iterator[None]:
        if self._file is None or os.getpid() == self._maker:
            yield
            return
        start = self._lock(units)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, units, start)

    def _lock(self, units: int) -> int:
        """Lock so many units that follow each other; return where they begin."""
        assert self._file is not None  # noqa: S101 - asked for before
        starts = range(0, _UNITS - units + 1, units)
        for start in starts:
            with suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, units, start)
                return start
        chosen = starts[os.getpid() % len(starts)]
        fcntl.lockf(self._file, fcntl.LOCK_EX, units, chosen)
        return chosen


_turns = _Turns()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turns.forget)


def share_turns() -> None:
    """Let the processes that are forked from now on take turns with each other."""
    _turns.share()


@contextmanager
def turn(size: tuple[int, int]) -> Iterator[None]:
    """Wait, before an image of this width and height is decoded, until there is room for it."""
    pixels = size[0] * size[1]
    if pixels <= _FREE:
        yield
        return
    with _turns.take(_UNITS if 2 * pixels > _TOGETHER else -(-pixels // _UNIT)):
        yield


def strips(height: int, width: int) -> Iterator[slice]:
    """The rows of an image in turn, so few at a time that working on them takes little memory."""
    rows = max(1, _STRIP // max(1, width))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
