"""Only plain files and real folders are opened in a folder of results, so nothing outside is."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from nommer.errors import InputError

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_PLAIN = _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Flags with which a link is not followed, a pipe not waited for, and no byte translated; each
system has some of them."""

OTHERS = ("wandb", "mlruns")
"""Folders of other programs, which make links of their own in them."""


def check_plain(folder: Path) -> None:
    """Refuse a folder of results in which something is a link, pipe or device.

    Who writes into such a folder would write, or wait, elsewhere.

    Raises:
        InputError: the first that is found.
    """
    for entry in _entries(folder):
        mode = entry.stat(follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            kind = "a link" if stat.S_ISLNK(mode) else "no plain file"
            raise InputError(
                f"{entry.path}: is {kind}; in a folder of results there are only plain files and "
                "folders, so that nothing outside of it is written: put the file or folder itself "
                "there, or choose another --out"
            )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield everything below a folder, if there is one; no link is followed."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False) and entry.name not in OTHERS:
                yield from _entries(Path(entry.path))


def open_plain(path: Path, flags: int, mode: int = 0o666) -> int:
    """Open a file as `os.open` does, but follow no link; return the descriptor.

    Raises:
        OSError: what `os.open` raises; with ELOOP where the name is a link.
    """
    if not _NO_FOLLOW and path.is_symlink():  # Windows
        raise OSError(errno.ELOOP, "is a link", str(path))
    descriptor = os.open(path, flags | _PLAIN, mode)
    if not _NO_FOLLOW and not os.path.samestat(os.lstat(path), os.fstat(descriptor)):
        os.close(descriptor)  # became one in between
        raise OSError(errno.ELOOP, "is a link", str(path))
    return descriptor


def read_own(path: Path) -> bytes:
    """Read a small file of a folder of results; no link is followed.

    Raises:
        OSError: there is none, or it is no plain file.
    """
    descriptor = open_plain(path, os.O_RDONLY)
    with open(descriptor, "rb") as stream:  # noqa: PTH123 - of a descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path}: is no plain file")
        return stream.read()
