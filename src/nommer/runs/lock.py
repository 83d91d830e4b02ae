"""One run, one writer.

A lock on a file in the run folder, which ends with its process however that ends.
"""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import lock_descriptor

from nommer.errors import InputError
from nommer.progress import notice
from nommer.runs.plain import open_plain

LOCK = ".lock"
"""The file that is locked; it stays, for removing it would let two runs lock different files of
this name.
"""

_held: set[int] = set()


def _forget() -> None:
    """In a process that was forked: its copy of the lock must not outlive the run."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@contextmanager
def telling_what_cannot_be_made(folder: Path) -> Iterator[None]:
    """While a folder for results is being made.

    Raises:
        InputError: in the place of the system's error.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made: {error.strerror}; choose another --out"
        ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one who writes into `folder`, made if need be.

    On systems without such locks, that is said.

    Raises:
        InputError: another run is writing there, the message says which; or the folder cannot be
            made.
    """
    with telling_what_cannot_be_made(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _holding(folder, os.O_RDWR | os.O_CREAT) as descriptor:
        os.ftruncate(descriptor, 0)
        # after a space: Windows lets nobody else read the first byte, which is what is locked
        os.write(descriptor, f" process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield


def check_unlocked(folder: Path) -> None:
    """Refuse at once what `locked` would refuse later; nothing is written.

    Raises:
        InputError: another run is writing there.
    """
    with suppress(OSError), _holding(folder, os.O_RDONLY):  # what cannot be opened is not locked
        pass


@contextmanager
def _holding(folder: Path, mode: int) -> Iterator[int]:
    """The lock's file, open and locked."""
    descriptor = _open(folder / LOCK, mode)
    _held.add(descriptor)
    try:
        _lock(descriptor, folder)
        yield descriptor
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _open(path: Path, mode: int) -> int:
    """Open the lock's file, which has no other name: nothing else is written when it is."""
    try:
        descriptor = open_plain(path, mode, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO):
            raise _no_plain_lock(path) from error
        raise
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(descriptor)
        raise _no_plain_lock(path)
    return descriptor


def _no_plain_lock(path: Path) -> InputError:
    return InputError(f"{path}: is a link, or no plain file; remove it, or choose another --out")


def _lock(descriptor: int, folder: Path) -> None:
    try:
        if lock_descriptor(descriptor, blocking=False):
            return
    except OSError as error:
        notice(
            f"{folder}: cannot be locked ({error.strerror}); take care that no other run writes "
            "there"
        )
        return
    raise InputError(
        f"{folder}: a run is writing there ({_holder(descriptor)}); wait, or choose another --out"
    )


def _holder(descriptor: int) -> str:
    """Return what the file says of the process that has locked it."""
    for start in (0, 1):  # Windows refuses the first byte
        with suppress(OSError):
            os.lseek(descriptor, start, os.SEEK_SET)
            return os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
    return "another process"
