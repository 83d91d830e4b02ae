"""Measure forms of one thing in turns, so that other work on the machine falls on all of them."""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence


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


def ratio(times: Sequence[float], against: Sequence[float], *, digits: int = 2) -> str:
    """Write the median of the ratios within a round, with their quartiles."""
    ratios = [one / other for one, other in zip(times, against, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
