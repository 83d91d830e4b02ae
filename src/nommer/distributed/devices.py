"""Devices and number formats as settings name them, and as torch and Lightning do."""

import torch

from nommer.errors import InputError
from nommer.settings.choices import Precision
from nommer.settings.train import TrainSettings


def parse_device(device: str, devices: int) -> tuple[str, int | list[int]]:
    """Lightning's accelerator and devices for "auto", "cpu", "cuda", "mps", "cuda:1" or "cuda:0,1".

    Raises:
        InputError: a device that this machine does not have, or another word.
    """
    kind, _, numbers = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps"):
        raise InputError(
            f"--device {device!r} is not known; use auto, cpu, cuda, cuda:0, cuda:0,1 or mps"
        )
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if kind == "auto":
        kind = next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available[kind]:
        raise InputError(
            f"--device {device}: this machine has no {kind} device that torch can use; use cpu or "
            "auto"
        )
    if not numbers:
        return kind, devices
    if kind != "cuda" or not all(number.isdecimal() for number in numbers.split(",")):
        raise InputError(f"--device {device!r}: only cuda devices have numbers, as in cuda:0,1")
    chosen = [int(number) for number in numbers.split(",")]
    if max(chosen) >= torch.cuda.device_count():
        raise InputError(
            f"--device {device}: this machine has {torch.cuda.device_count()} cuda devices"
        )
    if devices not in (1, len(chosen)):
        raise InputError(
            f"--device {device} names {len(chosen)} devices but --devices is {devices}: drop one "
            "of both"
        )
    return kind, chosen


def count_processes(device: str, devices: int) -> int:
    """Processes that a run on these devices has, one each."""
    _, chosen = parse_device(device, devices)
    return chosen if isinstance(chosen, int) else len(chosen)


def processes_of(settings: TrainSettings) -> int:
    """Count the processes of a run on all its machines, one per device."""
    return count_processes(settings.device, settings.devices) * settings.nodes


def one_device(device: str) -> str:
    """`device` itself, for what runs on a single one.

    Raises:
        InputError: several are named.
    """
    if count_processes(device, 1) > 1:
        raise InputError(
            f"--device {device}: this command runs on one device; name one, as in cuda:0"
        )
    return device


def torch_device(device: str) -> str:
    """Return torch's name of the one device that is asked for.

    Raises:
        InputError: several are named, or one that this machine does not have.
    """
    accelerator, chosen = parse_device(one_device(device), 1)
    return f"{accelerator}:{chosen[0]}" if isinstance(chosen, list) else accelerator


def resolve_precision(precision: Precision, accelerator: str) -> Precision:
    """The precision that "auto" means: bfloat16 on a GPU that does it, float32 elsewhere.

    Raises:
        InputError: float16 on a CPU.
    """
    if precision == "16" and accelerator == "cpu":
        raise InputError("--precision 16: is for GPUs; on the CPU use bf16 or 32")
    if precision != "auto":
        return precision
    return "bf16" if accelerator == "cuda" and torch.cuda.is_bf16_supported() else "32"
