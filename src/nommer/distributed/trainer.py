"""Lightning's trainer, set up the one way this package uses it."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch

from nommer.distributed.sync_norms import SyncNorms
from nommer.errors import InputError
from nommer.runs.checkpoint import AtomicCheckpointIO
from nommer.settings.choices import Precision
from nommer.settings.train import TrainSettings

PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


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


def make_trainer(
    *,
    device: str,
    devices: int,
    precision: Precision,
    out: Path,
    nodes: int = 1,
    alone: bool = False,
    sync_norms: bool = False,
    **options: Any,
) -> L.Trainer:
    """A trainer that writes nowhere but where it is told, and whose checkpoints are atomic.

    With `alone` it takes no notice of other processes that were started with this one; with
    `sync_norms`, batch norms see the batches of all.
    """
    accelerator, chosen = parse_device(device, devices)
    started = 1 if alone else int(os.environ.get("WORLD_SIZE", "1"))
    processes = max(nodes * (chosen if isinstance(chosen, int) else len(chosen)), started)
    return L.Trainer(
        accelerator={"cuda": "gpu"}.get(accelerator, accelerator),
        devices=chosen,
        num_nodes=nodes,
        strategy="ddp" if processes > 1 else "auto",
        precision=PRECISIONS[resolve_precision(precision, accelerator)],
        default_root_dir=out,
        plugins=[
            AtomicCheckpointIO(),
            *([SyncNorms()] if sync_norms else []),
        ],
        use_distributed_sampler=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


_LAUNCHER = "lightning.fabric.strategies.launchers.subprocess_script"


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's advice, which is about choices that are made here on purpose."""
    loggers: Sequence[logging.Logger] = [
        logging.getLogger(name)
        for name in (
            "lightning.pytorch",
            "lightning.fabric",
            "lightning.pytorch.utilities.rank_zero",
        )
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    logging.getLogger(_LAUNCHER).setLevel(
        logging.INFO
    )  # says which of several processes died, and takes all down
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
        warnings.filterwarnings("ignore", message=".*The number of training batches.*")
        warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
        warnings.filterwarnings(
            "ignore", message=".*resuming from a checkpoint that ended before the epoch ended.*"
        )
        warnings.filterwarnings(
            "ignore", message=".*Checkpoint directory .* exists and is not empty.*"
        )
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings(
            "ignore", message=".*It is recommended to use .self.log.*sync_dist=True.*"
        )
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
