"""The sizes, the device and the clock of `gpu.py`."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from nommer.benchmarking.cases import Case
from nommer.benchmarking.models import Networks
from nommer.benchmarking.timing import time_in_turns, warm_up

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Hold the size of everything that is run."""

    model: str = "nommer_tiny"
    large: tuple[str, ...] = ("nommer_small", "nommer_base")
    peer: str = "swin_tiny_patch4_window7_224"
    peers: tuple[str, ...] = ("swin_tiny_patch4_window7_224", "convnext_tiny", "resnet50")
    side: int = 224
    batch: int = 128
    batches: tuple[int, ...] = (1, 4, 16, 64, 256)
    small_side: int = 64
    small_stride: int = 2
    """Of the stem at `small_side`: 64 tokens in stage 3, where cuDNN's attention gave NaN."""
    small_batch: int = 128
    steps: int = 500
    half_steps: int = 60
    windows: int = 64 * 64
    rounds: int = 10
    seconds: float = 1.0


TINY = Sizes(
    model="nommer_micro",
    large=("nommer_micro",),
    peer="test_resnet",
    peers=("test_resnet",),
    side=32,
    batch=2,
    batches=(1, 2),
    small_side=32,
    small_batch=2,
    steps=3,
    half_steps=2,
    windows=2,
    rounds=1,
    seconds=0.01,
)


@dataclass
class Bench:
    """The sizes, the device, and when to be done."""

    sizes: Sizes
    device: torch.device
    until: float
    networks: Networks = field(init=False)

    def __post_init__(self) -> None:
        self.networks = Networks(str(self.device))

    @property
    def late(self) -> bool:
        """True once the time is spent."""
        return time.monotonic() > self.until

    def case(self, model: str, backend: str, mode: Any, precision: str, batch: int) -> Case:
        """Name a case at the usual side."""
        return Case(model, backend, mode, precision, self.sizes.side, batch)

    def time(self, calls: dict[str, Callable[[], Any]], *, alone: bool = False) -> dict[str, float]:
        """Return the median seconds of calls that are warmed up and take turns."""
        expected = {name: warm_up(call, self.device) for name, call in calls.items()}
        found = time_in_turns(
            calls,
            expected,
            self.device,
            rounds=self.sizes.rounds,
            seconds=self.sizes.seconds,
            alone=alone,
        )
        return {name: statistics.median(times) for name, times in found.items()}
