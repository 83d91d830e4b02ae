"""The loader of batches.

When its workers begin, and what they do about signals that are meant for the run.
"""

import signal
from collections.abc import Iterator
from typing import Any, TypeVar

from torch.utils.data import DataLoader

from nommer.data.turns import share_turns

B = TypeVar("B")

GRACE = 30
"""Seconds in which a worker that is told to end waits for its process to be done with it."""


class LateLoader(DataLoader[B]):
    """Loads nothing before the first batch is asked for.

    Lightning makes an iterator before it has read the checkpoint of a run that goes on; workers
    would begin at once with batches of the first epoch, which would be trained on.
    """

    def __iter__(self) -> Iterator[B]:  # type: ignore[override]  # torch promises its own class
        share_turns()
        yield from super().__iter__()


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
