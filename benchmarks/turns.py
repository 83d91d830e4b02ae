"""Measure forms of one thing in turns, so that other work on the machine falls on all of them."""

import random
import time
from collections.abc import Callable, Mapping


def in_turns(forms: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return what every form measures in every round but a first one, which warms up.

    Every round has its own random order.
    """
    found: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds + 1):
        for name in random.sample(list(forms), len(forms)):
            found[name].append(forms[name]())
    return {name: values[1:] for name, values in found.items()}


def seconds_of(call: Callable[[], object]) -> float:
    """Return the seconds of the process that a call takes."""
    start = time.process_time()
    call()
    return time.process_time() - start
