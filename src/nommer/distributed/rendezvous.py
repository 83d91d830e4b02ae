"""Rendezvous of processes: the first prepares and tells the others; then all train as one group.

Processes wait for one another in Python, not inside of torch, so that signals are answered.
"""

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any, TypeVar

import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch._C._distributed_c10d import PrefixStore, TCPStore

from nommer.distributed.launch import Launch
from nommer.errors import InputError
from nommer.progress import notice

T = TypeVar("T")

LONGEST = timedelta(days=7)
"""The time that the others wait while the first reads the data."""
PATIENCE = 10.0
"""Seconds after which a line tells for whom a process waits."""

_LOCALHOST = "127.0.0.1"
_runs = count()
"""Runs of several processes in this process; in all processes of them the numbers are the same."""


class Rendezvous:
    """The store in which the processes of a run find one another; none for a single process.

    Args:
        launch: of this process.
        port: of the first process's store, in a process that the first has started.
    """

    def __init__(self, launch: Launch, port: int | None = None) -> None:
        self.launch = launch
        self.store: Any = None
        self.port = port
        self._turns = count()
        if launch.is_external:
            restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            prefix = f"nommer/{restart}/{next(_runs)}"
            self.store = PrefixStore(prefix, _shared_store(launch))
        elif launch.launcher == "nommer":
            self.store = _connect(_LOCALHOST, port or 0, launch.world_size, first=port is None)
            self.port = self.store.port

    def by_the_first(self, work: Callable[[], T], *, last: bool = False) -> T:
        """Return the result of `work`, which the first process alone does.

        Args:
            work: its result is pickled for the others.
            last: the first may end afterwards, so it waits until the others know.

        Raises:
            InputError: in every process, where the first had one; elsewhere also for other errors.
        """
        if not self.launch.is_external:
            return work()
        key = f"by the first/{next(self._turns)}"
        if self.launch.rank > 0:
            return self._told(key)
        try:
            result = work()
        except BaseException as error:
            told = error if isinstance(error, InputError | OSError) else _as_told(error)
            self._tell(key, (None, told), wait=True)
            raise
        self._tell(key, (result, None), wait=last)
        return result

    def _told(self, key: str) -> Any:
        self._wait(lambda: self.store.check([key]), lambda: "the first process, which prepares")
        result, error = pickle.loads(self.store.get(key))  # noqa: S301 - of the same run
        self.store.add(f"{key}/heard", 1)
        if error is not None:
            raise error
        return result

    def _tell(self, key: str, message: Any, *, wait: bool) -> None:
        self.store.set(key, pickle.dumps(message))
        end = time.monotonic() + (PATIENCE if wait else 0)
        while time.monotonic() < end:
            if int(self.store.add(f"{key}/heard", 0)) >= self.launch.world_size - 1:
                return
            time.sleep(0.05)

    @contextmanager
    def group(self, accelerator: str, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Be a process group while this lasts.

        Args:
            accelerator: of the processes.
            check: called while others are waited for; raises where they cannot come any more.
        """
        if self.store is None or dist.is_initialized():  # whoever made a group, keeps it
            yield
            return
        self._wait_for_all(check)
        dist.init_process_group(
            "nccl" if accelerator == "cuda" else "gloo",
            store=PrefixStore("group", self.store),
            rank=self.launch.rank,
            world_size=self.launch.world_size,
        )
        try:
            yield
            dist.barrier()
        finally:
            dist.destroy_process_group()

    def _wait_for_all(self, check: Callable[[], None]) -> None:
        """Wait until every process has arrived."""
        self.store.add("arrived", 1)

        def missing() -> int:
            return self.launch.world_size - int(self.store.add("arrived", 0))

        def arrived() -> bool:
            check()
            return missing() <= 0

        self._wait(arrived, lambda: f"{missing()} of {self.launch.world_size} processes")

    def _wait(self, ready: Callable[[], bool], whom: Callable[[], str]) -> None:
        """Wait until something is ready; after a while, say for whom."""
        started, told = time.monotonic(), False
        while not self._answered(ready):
            time.sleep(0.05)
            if not told and time.monotonic() - started > PATIENCE:
                told = True
                how = f" that {self.launch.launcher} starts" if self.launch.is_external else ""
                notice(f"waiting for {whom()}{how}; Ctrl-C stops")

    @staticmethod
    def _answered(ready: Callable[[], bool]) -> bool:
        try:
            return ready()
        except dist.DistNetworkError as error:
            raise InputError(f"the first process of this run has ended ({error})") from error


def _as_told(error: BaseException) -> InputError:
    return InputError(f"the first process ended with {type(error).__name__}: {error}")


@cache
def _shared_store(launch: Launch) -> Any:
    """The store of processes that others started: one for all runs, for it has one address."""
    host, port = os.environ.get("MASTER_ADDR"), int(os.environ.get("MASTER_PORT", "0"))
    if launch.launcher == "srun":
        nodes = os.environ.get("SLURM_STEP_NODELIST", os.environ.get("SLURM_NODELIST", _LOCALHOST))
        host = host or SLURMEnvironment.resolve_root_node_address(nodes)
        port = port or 15000 + int(os.environ.get("SLURM_JOB_ID", "0")[-4:])
    is_agents = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    first = launch.rank == 0 and not is_agents
    return _connect(host or _LOCALHOST, port or 29500, launch.world_size, first=first)


def _connect(host: str, port: int, world_size: int, *, first: bool) -> Any:
    """Open the first process's store; signals are answered while others wait for it."""
    found: list[Any] = []

    def connect() -> None:
        try:
            found.append(
                TCPStore(host, port, world_size, first, timeout=LONGEST, wait_for_workers=False)
            )
        except Exception as error:  # whatever a network may raise; told below
            found.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    started, told = time.monotonic(), False
    while thread.is_alive():
        thread.join(0.1)
        if not told and time.monotonic() - started > PATIENCE:
            told = True
            notice(f"waiting for the first process at {host}:{port}; Ctrl-C stops")
    if isinstance(found[0], Exception):
        raise InputError(
            f"the processes of this run cannot meet at {host}:{port}: {found[0]}; is the port "
            "taken? MASTER_PORT chooses another"
        ) from found[0]
    return found[0]
