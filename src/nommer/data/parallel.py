"""Reading many files at a time."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from nommer.data.turns import share_turns
from nommer.errors import InputError
from nommer.progress import track

T = TypeVar("T")
R = TypeVar("R")

MOST = 16
"""Processes or threads at a time."""

FEW = 256
"""Fewer files are read before processes have started."""

_CHUNK = 64
"""Files that a process is given at once."""

_share: tuple[Callable[[Any], Any], Sequence[Any]]
"""In a reading process: how to read, and all the files."""


def read_all(
    read: Callable[[T], R], files: Sequence[T], *, what: str, processes: bool = True
) -> list[R]:
    """`read` of each of `files`, in order, several at a time.

    Many files are read by processes, since with small images Python takes longer than the decoder,
    in one thread at a time. They are forked, so `read` and `files` may be anything, and what `read`
    remembers is forgotten; its results, and what it raises, must be picklable.

    Args:
        read: what is done with one file.
        files: or whatever stands for them.
        what: is shown while it lasts.
        processes: processes may be used; not where `read` is to remember something.

    Raises:
        InputError: a reading process was ended by the system.
    """
    number = count_readers()
    if processes and len(files) >= FEW and number > 1 and _can_fork():
        return list(track(_by_processes(read, files, number), total=len(files), what=what))
    with ThreadPoolExecutor(number) as pool:
        return list(track(pool.map(read, files), total=len(files), what=what))


def read_together(read: Callable[[T], R], sources: Sequence[T], readers: Executor) -> list[R]:
    """`read` of each source, in order, by threads, but of streams one after the other.

    Two open streams may share one file, and with it the place where it is read.
    """
    waiting = [None if hasattr(one, "read") else readers.submit(read, one) for one in sources]
    return [
        read(one) if promise is None else promise.result()
        for one, promise in zip(sources, waiting, strict=True)
    ]


def count_readers() -> int:
    """Files that are read at a time: one per core that this process may use."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min(MOST, cores)


def _can_fork() -> bool:
    """Return True where a process may be forked.

    Not where systems advise against it, nor in one that may have no children, or nothing to share
    with them.
    """
    if sys.platform != "linux" or not hasattr(os, "fork"):
        return False
    if multiprocessing.current_process().daemon:
        return False
    try:
        multiprocessing.get_context("fork").Lock()
    except OSError:  # /dev/shm is full or read-only, as in some containers
        return False
    return True


def _by_processes(read: Callable[[T], R], files: Sequence[T], number: int) -> Iterator[R]:
    chunk = max(1, min(_CHUNK, len(files) // (4 * number)))
    parts = [(start, min(start + chunk, len(files))) for start in range(0, len(files), chunk)]
    context = multiprocessing.get_context("fork")
    share_turns()
    with ProcessPoolExecutor(
        number, mp_context=context, initializer=_begin, initargs=(read, files)
    ) as pool:
        done = 0
        try:
            for results in pool.map(_read_part, parts):
                yield from results
                done += len(results)
        except BrokenProcessPool as error:
            first = getattr(files[done], "path", files[done])
            raise InputError(
                f"{first}: a process that read this file, or one of those after it, was ended by "
                "the system, most "
                "likely for want of memory; free some, or make very large images smaller"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin(read: Callable[[Any], Any], files: Sequence[Any]) -> None:
    global _share  # noqa: PLW0603 - of this process alone, which does nothing else
    _share = read, files
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the process that waits for it is told, too, and ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _read_part(part: tuple[int, int]) -> list[Any]:
    read, files = _share
    return [read(file) for file in files[slice(*part)]]
