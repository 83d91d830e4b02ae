"""One sentence in the place of a traceback, where the run folder cannot be written to."""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nommer.errors import InputError
from nommer.runs.folder import RunFolder
from nommer.training.last_checkpoint import read_progress

_CANNOT_WRITE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
}


@contextmanager
def explaining_full_disks(run: RunFolder) -> Iterator[None]:
    """Say what is left, and how to go on, where the run folder can no longer be written to.

    Raises:
        InputError: in the place of the system's error.
    """
    try:
        with _quiet_threads():
            yield
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        saved = run.last.is_file()
        left = (
            f"{run.last} is whole, from {read_progress(run.last)}"
            if saved
            else "nothing was saved yet"
        )
        then = f"go on with: {run.resume_command}" if saved else "start again with --overwrite"
        raise InputError(
            f"{error.filename or run.path}: cannot be written: {error.strerror}; {left}; make "
            "room, or see to the "
            f"permissions, and {then}"
        ) from error


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """Keep Python from printing tracebacks of threads that cannot write, such as TensorBoard's."""
    usual = threading.excepthook

    def print_others(failed: threading.ExceptHookArgs) -> None:
        if not (isinstance(failed.exc_value, OSError) and failed.exc_value.errno in _CANNOT_WRITE):
            usual(failed)

    threading.excepthook = print_others
    try:
        yield
    finally:
        threading.excepthook = usual
