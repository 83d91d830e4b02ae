"""Everything a benchmark is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from nommer.errors import InputError, check_minimum

Backend = Literal[
    "eager", "fused", "compiled", "fused-compiled", "blocks", "fused-blocks", "onnxruntime"
]
NumberFormat = Literal["32", "bf16", "16", "bf16-true", "16-true"]
Mode = Literal["inference", "training"]

MODES: dict[str, tuple[Mode, ...]] = {
    "inference": ("inference",),
    "training": ("training",),
    "both": ("inference", "training"),
}

SMALLEST_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """The arguments of `nommer benchmark`; see there.

    Raises:
        InputError: a value that is not known or out of range; the message names it.
    """

    models: Sequence[str]
    peers: Sequence[str]
    sizes: Sequence[int]
    batches: Sequence[int]
    precisions: Sequence[str]
    backends: Sequence[str]
    mode: Literal["inference", "training", "both"]
    device: str
    threads: int | None
    rounds: int
    seconds: float
    minutes: float
    out: Path | None
    overwrite: bool

    def __post_init__(self) -> None:
        for name in ("models", "peers", "sizes", "batches", "precisions", "backends"):
            object.__setattr__(self, name, listed(getattr(self, name)))
        for name, minimum in (("sizes", SMALLEST_SIZE), ("batches", 1)):
            object.__setattr__(
                self, name, tuple(_whole(name, value, minimum) for value in getattr(self, name))
            )
        self._check_names()
        for name in ("threads", "rounds"):
            check_minimum(name, getattr(self, name), 1)
        for name in ("seconds", "minutes"):
            if not getattr(self, name) > 0:
                raise InputError(f"--{name} must be above 0, got {getattr(self, name)}")

    def _check_names(self) -> None:
        """Refuse an empty list, and a word that is not known."""
        for name in ("models", "sizes", "batches", "precisions", "backends"):
            if not getattr(self, name):
                raise InputError(f"--{name}: nothing is given; name at least one")
        _among("precisions", self.precisions, get_args(NumberFormat))
        _among("backends", self.backends, get_args(Backend))
        if self.mode not in MODES:
            raise InputError(f"--mode: must be one of {', '.join(MODES)}, got {self.mode!r}")


def listed(value: Any) -> tuple[Any, ...]:
    """A list as it is, text split at commas, anything else alone; each entry once."""
    entries = (
        value.split(",")
        if isinstance(value, str)
        else value
        if isinstance(value, list | tuple)
        else [value]
    )
    stripped = (entry.strip() if isinstance(entry, str) else entry for entry in entries)
    return tuple(dict.fromkeys(entry for entry in stripped if entry != ""))


def _whole(name: str, value: Any, minimum: int) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = minimum - 1
    if number < minimum or str(number) != str(value):
        raise InputError(f"--{name}: must be whole numbers of {minimum} or more, got {value!r}")
    return number


def _among(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise InputError(f"--{name}: must be among {', '.join(known)}, got {value!r}")
