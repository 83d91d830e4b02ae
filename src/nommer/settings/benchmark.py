"""What `nommer benchmark` is told.

What runs, on how many images of which sizes, how computed, and for how long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from timm.models import is_model

from nommer.distributed.trainer import parse_device, torch_device
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

_OF_PEERS = {
    "fused": "eager",
    "fused-compiled": "compiled",
    "blocks": "eager",
    "fused-blocks": "eager",
    "literal": "eager",
}


@dataclass(frozen=True)
class Case:
    """One thing to measure."""

    model: str
    backend: str
    mode: Mode
    precision: str
    size: int
    batch: int


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
        """What is chosen from what there is."""
        for name in ("models", "sizes", "batches", "precisions", "backends"):
            if not getattr(self, name):
                raise InputError(f"--{name}: nothing is given; name at least one")
        for name in (*self.models, *self.peers):
            if not is_model(name):
                raise InputError(
                    f"--models, --peers: timm knows no network {name!r}; one is nommer_tiny or "
                    "resnet50"
                )
        _among("precisions", self.precisions, get_args(NumberFormat))
        _among("backends", self.backends, get_args(Backend))
        if self.mode not in MODES:
            raise InputError(f"--mode: must be one of {', '.join(MODES)}, got {self.mode!r}")
        half = [name for name in self.precisions if name.startswith("16")]
        if half and parse_device(self.device, 1)[0] == "cpu":
            raise InputError(f"--precisions {half[0]}: is for GPUs; on the CPU use bf16 or 32")
        self._check_backends()

    def _check_backends(self) -> None:
        """Something can be run in each precision."""
        if "onnxruntime" in self.backends and parse_device(self.device, 1)[0] != "cpu":
            raise InputError(
                "--backends onnxruntime: is for the CPU; use --device cpu or leave it out"
            )
        for precision in self.precisions:
            if not any(
                _exists(backend, mode, precision)
                for mode in MODES[self.mode]
                for backend in self.backends
            ):
                raise InputError(
                    f"--precisions {precision}: cannot be measured with --mode {self.mode} and "
                    "--backends "
                    f"{','.join(self.backends)}: training is eager, compiled or blocks, in 32, "
                    "bf16 or 16; "
                    "onnxruntime in 32"
                )

    @property
    def torch_device(self) -> str:
        """What torch calls the device."""
        return torch_device(self.device)

    def groups(self) -> list[list[Case]]:
        """What is measured in turns: the cases that differ in nothing but model and backend."""
        runners = [(name, backend) for name in self.models for backend in self.backends]
        runners += [
            (name, reference_backend(backend)) for name in self.peers for backend in self.backends
        ]
        groups = [
            [
                Case(model, backend, mode, precision, size, batch)
                for model, backend in dict.fromkeys(runners)
                if _exists(backend, mode, precision)
            ]
            for size in self.sizes
            for mode in MODES[self.mode]
            for precision in self.precisions
            for batch in self.batches
        ]
        return [group for group in groups if group]


def _exists(backend: str, mode: Mode, precision: str) -> bool:
    """What is fused or exported is for inference only; what is exported computes in float32."""
    if mode == "training":
        return backend in ("eager", "compiled", "blocks") and not precision.endswith("true")
    return backend != "onnxruntime" or precision == "32"


def reference_backend(backend: str) -> str:
    """The backend of a peer that a backend is compared with.

    Only NomMer can be fused or compiled by blocks.
    """
    return _OF_PEERS.get(backend, backend)


def is_compiled(backend: str) -> bool:
    """Whether torch's compiler is needed."""
    return "compiled" in backend or "blocks" in backend


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
