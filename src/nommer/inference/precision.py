"""In what number format a model answers and what computes it: chosen, applied, and said."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from nommer.distributed.devices import parse_device, resolve_precision
from nommer.errors import InputError
from nommer.models.storage import Model
from nommer.progress import notice
from nommer.runs.folder import RunFolder
from nommer.settings.choices import Precision

_AUTOCAST = {"bf16": torch.bfloat16, "16": torch.float16}


@dataclass(frozen=True)
class Computation:
    """Device and number format of the computation of answers."""

    precision: str
    """Number format of the products: 32, bf16, 16 or int8."""
    runtime: str
    """The library that runs the network, and the device."""

    def notice(self) -> None:
        """Say it."""
        notice(f"precision {self.precision}, {self.runtime}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the results."""
        return asdict(self)


def computation_of(model: Model, precision: Precision, device: str) -> Computation:
    """Return how `model`, fused or exported, computes what is asked for on `device`."""
    if (exported := model.exported) is not None:
        found = {"float32": "32"}.get(exported.precision, exported.precision)
        return Computation(found, f"{exported.runtime.name} on the CPU")
    return Computation(precision, f"PyTorch, fused, on {parse_device(device, 1)[0]}")


def precision_for(model: Model, asked: Precision, run: RunFolder, device: str) -> Precision:
    """The number format asked for.

    "auto" is the run's own, so that its numbers are too, else what suits the machine.

    Raises:
        InputError: float16 on a CPU, or another format than an exported model has.
    """
    accelerator = parse_device(device, 1)[0]
    if (exported := model.exported) is not None:
        if asked not in ("auto", "32" if exported.precision == "float32" else "auto"):
            raise InputError(
                f"--precision {asked}: {exported.path} is an exported model, whose precision is "
                f"{exported.precision}; leave it out"
            )
        return "32"
    trained = run.settings()
    recorded: Precision = trained.precision if trained else "auto"
    if asked == "auto" and recorded == "16" and accelerator == "cpu":
        notice("the run's precision, 16, is for GPUs: on the CPU it computes in 32")
        return "32"
    return resolve_precision(recorded if asked == "auto" else asked, accelerator)


def autocast(device: str, precision: Precision) -> torch.autocast:
    """A context in which products are computed in `precision`; a device as torch calls it."""
    return torch.autocast(
        torch.device(device).type, _AUTOCAST.get(precision), enabled=precision in _AUTOCAST
    )
