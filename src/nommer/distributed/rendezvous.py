"""Rendezvous of processes: the first reads the data and tells the others, mistakes too.

Processes that torchrun or SLURM started meet at once, in the process group that Lightning goes on
with, and wait. Those that Lightning starts begin when the first one is ready to train, and are left
a file.
"""

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from lightning.fabric.utilities.distributed import _init_dist_connection

from nommer.distributed.processes import started_by
from nommer.errors import InputError
from nommer.files import write_atomically

T = TypeVar("T")

LONGEST = timedelta(days=7)
"""For which the others wait while the first reads the data."""

_LEFT = "NOMMER_LEFT_BY_THE_FIRST"


class Rendezvous:
    """Shares the result of work that the first process does for all.

    Args:
        processes: of the run.
        accelerator: what they compute on.
    """

    def __init__(self, processes: int, accelerator: str) -> None:
        environment = started_by()
        self.distributed = processes > 1
        self.group: Any = None
        if self.distributed and environment is not None:
            _init_dist_connection(environment, "nccl" if accelerator == "cuda" else "gloo")
            self.group = dist.new_group(backend="gloo", timeout=LONGEST)

    def by_the_first(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, which the first process alone does.

        Without a group this process does it.

        Raises:
            InputError: in every process, that which the first had.
        """
        if self.group is None:
            return work()
        said: list[Any] = [None, None]
        if dist.get_rank() == 0:
            try:
                said = [work(), None]
            except (InputError, OSError) as error:
                said = [None, error]
        dist.broadcast_object_list(said, 0, group=self.group)
        if said[1] is not None:
            raise said[1]
        return said[0]

    @contextmanager
    def leaving(self, found: object, folder: Path) -> Iterator[None]:
        """Leave `found` to processes that are started meanwhile."""
        if not self.distributed or self.group is not None or _LEFT in os.environ:
            yield
            return
        path = folder / f".found.{os.getpid()}.tmp"  # a name that going on sweeps away
        write_atomically(path, lambda stream: pickle.dump(found, stream))
        os.environ[_LEFT] = str(path.absolute())
        try:
            yield
        finally:
            del os.environ[_LEFT]
            path.unlink(missing_ok=True)


def left_by_the_first() -> Any:
    """Return the data as the process that started this one found them, or None."""
    path = os.environ.get(_LEFT)
    return pickle.loads(Path(path).read_bytes()) if path else None  # noqa: S301 - written by the same command
