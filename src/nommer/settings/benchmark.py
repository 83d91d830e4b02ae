"""Everything a benchmark is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

from nommer.errors import InputError, check_minimum
from nommer.settings.schema import Settings, Takes, given

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


if TYPE_CHECKING:
    Words: TypeAlias = Takes[tuple[str, ...], str | Sequence[str]]
    Numbers: TypeAlias = Takes[tuple[int, ...], str | int | Sequence[int]]
else:  # on the command line text with commas, in Python and in files lists too
    Words = str | Sequence[str]
    Numbers = str | int | Sequence[int]


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(Settings):
    """Settings of a benchmark; lists are kept as tuples.

    Raises:
        InputError: a value that is not known or out of range; the message names it.
    """

    named: ClassVar[bool] = True
    models: Words = given("nommer_tiny")
    """Names in timm's registry, ours and others."""
    peers: Words = given("swin_tiny_patch4_window7_224")
    """Networks to compare with; ratios are against the first."""
    sizes: Numbers = given("224")
    """Sides of the square images in pixels. With several, time per image is drawn against them."""
    batches: Numbers = given("1,4")
    """Images per call; 1 for the time that one image takes."""
    precisions: Words = given("32")
    """32, bf16, 16, bf16-true, 16-true.
    The first three as train and evaluate compute (autocast); the others for weights in them too,
    inference only."""
    backends: Words = given("eager,fused")
    """eager, compiled, blocks, fused, fused-compiled, fused-blocks, onnxruntime.
    compiled is for the size at hand, blocks (of a NomMer) are compiled with sizes open. What is
    fused is for inference only, and so is onnxruntime (in 32, on the CPU)."""
    mode: Literal["inference", "training", "both"] = "inference"
    """inference, training (forward, backward and AdamW) or both."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    threads: int | None = None
    """Threads of the CPU. By default as many as torch takes."""
    rounds: int = 20
    """Times that each is measured at most."""
    seconds: float = 2.0
    """Time that each may take, warming up apart.
    3 rounds are always measured where there are as many."""
    minutes: float = 10.0
    """Time after which the rest is left out, and said to be."""
    out: Takes[Path | None, str] = given(None)
    """Folder for report.md, result.json and time_by_pixels.png. By default a new one,
    runs/benchmark."""
    overwrite: bool = False
    """Delete earlier results in --out."""

    def check(self) -> None:
        """Refuse values out of range, and words that are not known."""
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
