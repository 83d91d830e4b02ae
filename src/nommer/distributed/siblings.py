"""Processes that the first process of a run starts on its own machine, and watches.

They run a module of this package, not the user's program once more: so a script may train twice,
and a notebook may use two devices.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

from nommer.errors import InputError
from nommer.progress import notice

GRACE = 20.0
"""Seconds in which processes end by themselves after one of them has failed."""


_FORCE = getattr(signal, "SIGKILL", signal.SIGTERM)
"""Ends a process at once; on Windows every signal does."""

Check: TypeAlias = Callable[[], None]
"""Raises where a process that is waited for has ended."""


def no_check() -> None:
    """Accept; others watch over the processes."""


@contextmanager
def siblings(module: str, tasks: Sequence[Any]) -> Iterator[Check]:
    """Run `module` in a process for each of `tasks`, which it finds pickled on its standard input.

    Yields a function that raises where one of them has ended.
    """
    processes = [_start(module) for _ in tasks]
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(processes, ended), daemon=True)
    watcher.start()
    try:
        for process, task in zip(processes, tasks, strict=True):
            _hand_over(process, task)
        yield lambda: _check(processes)
        _wait_for(processes, GRACE)
    finally:
        ended.set()
        _end(processes)


def read_task() -> Any:
    """Read what the first process has handed over."""
    path, content = pickle.load(sys.stdin.buffer)  # noqa: S301 - of the process that started this
    sys.path[:] = path
    return pickle.loads(content)  # noqa: S301 - the same


def _start(module: str) -> "subprocess.Popen[bytes]":
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing has it
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, *options, "-m", module]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # noqa: S603 - this package


def _hand_over(process: "subprocess.Popen[bytes]", task: Any) -> None:
    content = pickle.dumps((sys.path, pickle.dumps(task)))
    with suppress(BrokenPipeError), process.stdin as stream:  # type: ignore[union-attr]  # one that died is told of later
        stream.write(content)


def _check(processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    for process in processes:
        if process.poll() is not None:
            raise InputError(
                f"a process that was started for --devices ended with code {process.returncode} "
                "before training began; what it printed says why"
            )


def _watch(processes: "Sequence[subprocess.Popen[bytes]]", ended: threading.Event) -> None:
    """End all where one has failed and the first hangs in an exchange that cannot come about."""
    while not ended.wait(1.0):
        failed = [process for process in processes if process.poll()]
        if failed and not ended.wait(GRACE):
            notice(
                f"error: process {failed[0].pid} terminated with code {failed[0].returncode}; "
                "all processes of this run are ended"
            )
            _end(processes)
            os.kill(os.getpid(), _FORCE)


def _wait_for(processes: "Sequence[subprocess.Popen[bytes]]", seconds: float) -> None:
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


def _end(processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    """End what is still running, by force if need be."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    _wait_for(processes, 5.0)
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
