"""The loader of batches.

When its workers begin, and what they do about signals that are meant for the run.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from multiprocessing import get_start_method
from traceback import walk_tb
from typing import Any, TypeVar

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from nommer.data.turns import share_turns
from nommer.errors import InputError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

B = TypeVar("B")

GRACE = 30
"""Seconds in which a worker that is told to end waits for its process to be done with it."""


_OF_SOCKETS = len("/pymp-12345678/listener-12345678")
_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
"""Bytes in the path of a socket, by which worker processes hand batches over."""


def check_loading_workers(workers: int) -> None:
    """Refuse workers that could not hand anything over, and would hang.

    Raises:
        InputError: the folder of temporary files has too long a name, or too few files may be open.
    """
    _check_open_files(workers)
    folder = tempfile.gettempdir()
    most = _LONGEST_SOCKET - _OF_SOCKETS
    if workers and sys.platform != "win32" and len(os.fsencode(folder)) > most:
        raise InputError(
            f"TMPDIR {folder}: has {len(os.fsencode(folder))} letters, and sockets of worker "
            f"processes in it may have at most {most}; set a shorter TMPDIR, or --workers 0"
        )


_OPEN_FILES, _OPEN_FILES_OF_WORKER = 40, 16
"""Files that a run has open itself, and for the batches of a worker that are on their way."""


def _check_open_files(workers: int) -> None:
    """Refuse workers whose batches would not all fit the files that a process may have open.

    Raises:
        InputError: how many may be open, and how many are needed.
    """
    if not workers or resource is None:
        return
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _OPEN_FILES + workers * _OPEN_FILES_OF_WORKER
    if most != resource.RLIM_INFINITY and most < needed:
        raise InputError(
            f"a process may have {most} files open here, and {workers} workers that load images "
            f"need {needed}, without which they would hang: raise the limit (ulimit -n {needed}), "
            "or say --workers 0"
        )


class LateLoader(DataLoader[B]):
    """Loads nothing before the first batch is asked for.

    Lightning makes an iterator before it has read the checkpoint of a run that goes on; workers
    would begin at once with batches of the first epoch, which would be trained on.
    """

    def __iter__(self) -> Iterator[B]:  # type: ignore[override]  # torch promises its own class
        share_turns()
        try:
            yield from super().__iter__()
        except (OSError, RuntimeError) as error:
            _lay_to_rest(error)
            if self.num_workers and (reason := _explain(error)):
                raise InputError(reason) from error
            raise


@contextmanager
def dead_workers_told() -> Iterator[None]:
    """Say in one sentence that a worker was killed, wherever the news of it arrives.

    PyTorch raises its error from the handler of a signal, so it may come out of any line.

    Raises:
        InputError: a worker of a loader was ended.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" in str(error) and (reason := _explain(error)):
            raise InputError(reason) from error
        raise


def _lay_to_rest(error: BaseException) -> None:
    """Keep an iterator that could not begin its workers from complaining when it is deleted."""
    for frame, _ in walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, _BaseDataLoaderIter) and not hasattr(owner, "_shutdown"):
            owner._shutdown = True  # type: ignore[attr-defined]  # of its workers' iterator


def _explain(raised: Exception) -> str | None:
    """Return what ails the workers, and what to do; None for anything else."""
    error, kind = str(raised), getattr(raised, "errno", None)
    of_system = kind is not None and getattr(raised, "filename", None) is None
    if "Too many open files" in error:
        return (
            "the workers that load images have too many files open: raise the limit (ulimit -n), "
            "or use fewer --workers (--workers 0 needs none)"
        )
    fewer = "use fewer --workers (--workers 0 needs none)"
    signs = ("Bus error", "shared memory", "dev/shm", "Read-only file")
    if any(sign in error for sign in signs) or (of_system and kind == ENOSPC):
        return (
            "the workers that load images have no room in shared memory (/dev/shm is full, small "
            f"or read-only): {fewer}, or give the container more, as docker run --shm-size 2g does"
        )
    if "DataLoader worker" in error and get_start_method() != "fork":
        return (
            "a worker that loads images has ended: what it printed above says why, or, where it "
            f"printed nothing, memory was short: {fewer}"
        )
    if "DataLoader worker" in error:
        return (
            "a worker that loads images was ended by the system, most likely for want of memory: "
            f"{fewer}, a smaller --batch-size, or smaller images"
        )
    return None


def outlive_signals(worker: int) -> None:
    """Let a worker work until its process has saved.

    Signals that ask to stop are sent to all processes of a run.
    """
    for name in ("SIGINT", "SIGUSR1", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, _end_later)


def _end_later(*_: Any) -> None:
    signal.alarm(GRACE)
