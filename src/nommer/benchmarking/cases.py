"""The cases that a benchmark measures, in groups."""

from dataclasses import dataclass

from timm.models import is_model

from nommer.distributed.devices import parse_device
from nommer.errors import InputError
from nommer.settings.benchmark import MODES, BenchmarkSettings, Mode

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


def check_possible(settings: BenchmarkSettings) -> None:
    """Refuse networks that timm does not know, and what the device cannot do.

    Raises:
        InputError: the option, and what to do.
    """
    for name in (*settings.models, *settings.peers):
        if not is_model(name):
            raise InputError(
                f"--models, --peers: timm knows no network {name!r}; one is nommer_tiny or resnet50"
            )
    accelerator, _ = parse_device(settings.device, 1)
    half = [name for name in settings.precisions if name.startswith("16")]
    if half and accelerator == "cpu":
        raise InputError(f"--precisions {half[0]}: is for GPUs; on the CPU use bf16 or 32")
    _check_backends(settings, accelerator)


def _check_backends(settings: BenchmarkSettings, accelerator: str) -> None:
    """Refuse a precision in which nothing can be run."""
    if "onnxruntime" in settings.backends and accelerator != "cpu":
        raise InputError("--backends onnxruntime: is for the CPU; use --device cpu or leave it out")
    for precision in settings.precisions:
        if not any(
            _exists(backend, mode, precision)
            for mode in MODES[settings.mode]
            for backend in settings.backends
        ):
            raise InputError(
                f"--precisions {precision}: cannot be measured with --mode {settings.mode} and "
                "--backends "
                f"{','.join(settings.backends)}: training is eager, compiled or blocks, in 32, "
                "bf16 or 16; "
                "onnxruntime in 32"
            )


def groups_of(settings: BenchmarkSettings) -> list[list[Case]]:
    """Return what is measured in turns: cases that differ in nothing but model and backend."""
    runners = [(name, backend) for name in settings.models for backend in settings.backends]
    runners += [
        (name, reference_backend(backend))
        for name in settings.peers
        for backend in settings.backends
    ]
    groups = [
        [
            Case(model, backend, mode, precision, size, batch)
            for model, backend in dict.fromkeys(runners)
            if _exists(backend, mode, precision)
        ]
        for size in settings.sizes
        for mode in MODES[settings.mode]
        for precision in settings.precisions
        for batch in settings.batches
    ]
    return [group for group in groups if group]


def _exists(backend: str, mode: Mode, precision: str) -> bool:
    """Tell if it runs: fused and exported are for inference, exported computes in float32."""
    if mode == "training":
        return backend in ("eager", "compiled", "blocks") and not precision.endswith("true")
    return backend != "onnxruntime" or precision == "32"


def reference_backend(backend: str) -> str:
    """The backend of a peer that a backend is compared with.

    Only NomMer can be fused or compiled by blocks.
    """
    return _OF_PEERS.get(backend, backend)


def is_compiled(backend: str) -> bool:
    """True where torch's compiler is needed."""
    return "compiled" in backend or "blocks" in backend
