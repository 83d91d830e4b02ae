"""Reading many files at a time."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from nommer.progress import track

T = TypeVar("T")
R = TypeVar("R")


def read_all(read: Callable[[T], R], files: Sequence[T], *, what: str) -> list[R]:
    """`read` of each of `files`, in order, several at a time; `what` is shown while it lasts."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(track(pool.map(read, files), total=len(files), what=what))
