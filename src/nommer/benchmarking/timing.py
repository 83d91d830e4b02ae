"""Clocks and scales of `nommer benchmark`.

Time in turns, peak memory, and the fastest matrix product there is.
"""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)

FEWEST_ROUNDS = 3
_PEAK_SIDE = {"cuda": 8192}
_LEAST_SAMPLE = 0.02
"""Seconds of work on a GPU that one reading of the clock should cover, where calls may follow each
other.
"""

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Of one value or more."""
        low, middle, high = (
            statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        )
        return cls(low, middle, high)


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds_of(call: Callable[[], Any], device: torch.device, *, times: int = 1) -> float:
    """Duration of a call, all work on the device included; of several in a row the mean."""
    wait_for(device)
    start = time.perf_counter()
    for _ in range(times):
        call()
    wait_for(device)
    return (time.perf_counter() - start) / times


def warm_up(call: Callable[[], Any], device: torch.device) -> float:
    """Call until what happens only at first has happened; the seconds of the last call."""
    first = seconds_of(call, device)
    again = seconds_of(call, device) if first > _LEAST_SAMPLE else first
    return seconds_of(call, device, times=3) if again < 0.1 else again


def time_in_turns(
    calls: Mapping[Key, Callable[[], Any]],
    expected: Mapping[Key, float],
    device: torch.device,
    *,
    rounds: int,
    seconds: float,
    alone: bool,
) -> dict[Key, list[float]]:
    """Return seconds of each call per round.

    The calls take turns, so that whatever slows the machine slows all of them.

    Args:
        calls: warmed up.
        expected: about how many seconds each takes.
        device: on which they work.
        rounds: at most so many.
        seconds: per call; fewer rounds, but at least 3 of them, keep to it.
        alone: wait for every single call, as for one image at a time; else short ones may follow
            each other on a GPU.
    """
    total = sum(expected.values())
    affordable = max(FEWEST_ROUNDS, int(seconds * len(calls) / total)) if total else rounds
    several = device.type == "cuda" and not alone
    times = {key: max(1, round(_LEAST_SAMPLE / expected[key])) if several else 1 for key in calls}
    found: dict[Key, list[float]] = {key: [] for key in calls}
    for _ in range(min(rounds, affordable)):
        for key, call in calls.items():
            found[key].append(seconds_of(call, device, times=times[key]))
    return found


def peak_memory(call: Callable[[], Any], device: torch.device) -> int | None:
    """Bytes by which memory grows at most during a call: the device's, or this process's.

    None where it cannot be told.

    On a CPU it is what the process really held, whoever asked for it, by Linux's own mark, which is
    set back before.
    """
    gc.collect()
    wait_for(device)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        wait_for(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu" or not _give_back():
        return None
    before = _resident("VmRSS")
    call()
    return max(0, _resident("VmHWM") - before)


def _give_back() -> bool:
    """Return freed memory to the system and reset the peak of resident memory."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text("5")
        return "VmHWM" in _STATUS.read_text()
    except (OSError, AttributeError, TypeError):  # macOS, Windows
        return False


def _resident(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def matrix_peak(dtype: torch.dtype, device: torch.device) -> float:
    """Return the operations per second of the fastest product of two square matrices.

    Multiplications and additions both count.
    """
    side = _PEAK_SIDE.get(device.type, 2048)
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    with torch.inference_mode():
        warm_up(lambda: one @ other, device)
        return 2 * side**3 / min(seconds_of(lambda: one @ other, device) for _ in range(5))
