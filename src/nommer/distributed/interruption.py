"""Being asked to stop.

A run saves what there is, says how to go on, and ends with the signal's exit code.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from nommer.progress import notice

if TYPE_CHECKING:
    import lightning as L

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
    if hasattr(signal, name)
)
"""The keyboard, a scheduler, SLURM's warning (`--signal=USR1@120`), a terminal that is closed."""


class Stopped(KeyboardInterrupt):
    """A run was asked to stop; the message says what is saved and how to go on.

    Args:
        asked: the signal that asked.
        message: for the user.
    """

    def __init__(self, asked: int, message: str) -> None:
        super().__init__(message)
        self.asked = asked

    @property
    def exit_code(self) -> int:
        """The exit code that shells report of a process that a signal ended.

        130 for Ctrl-C, 143 for SIGTERM, 138 for SIGUSR1.
        """
        return 128 + self.asked


class TimeUp(Exception):  # noqa: N818 - no error
    """A run has reached its time limit: all is saved, the best model may be evaluated."""


class StopSignals:
    """While entered, signals that ask to stop are answered here.

    At once, or while deferred, where a run can save.

    Signals that are ignored stay so, as under `nohup`; and outside of the main thread, which alone
    can answer them, all stays as it is.
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.asked: int | None = None
        self.time_up = False
        """The time limit asked, in every process."""
        self.hint = ""
        """Say how to go on, for those who are stopped at once."""
        self._deferred = False
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._before = {
                n: handler
                for n, handler in handlers.items()
                if handler not in (signal.SIG_IGN, None)
            }
        self._install()
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def defer(self) -> None:
        """From now on only note that a signal came.

        Also where others have put handlers of their own.
        """
        self._deferred = True
        self._install()

    def stop_deferring(self) -> None:
        """From now on a signal stops at once."""
        self._deferred = False

    def _install(self) -> None:
        for number in self._before:
            signal.signal(number, self._answer)

    def _answer(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that was just forked
            return
        name = signal.Signals(number).name
        if self.asked is not None or not self._deferred:
            raise Stopped(number, f"stopped at once by {name}{self.hint}")
        self.asked = number
        again = "Ctrl-C once more" if number == signal.SIGINT else "a second signal"
        notice(f"{name}: saving after this step, then stopping; {again} stops at once")


@contextmanager
def interruptible(trainer: "L.Trainer") -> Iterator[None]:
    """Let a stop be the exception that it is, where Lightning would end the process."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise
