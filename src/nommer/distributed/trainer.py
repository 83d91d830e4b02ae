"""Lightning's trainer, set up the one way this package uses it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.strategies import DDPStrategy

from nommer.distributed.devices import parse_device, resolve_precision
from nommer.distributed.launch import Launch, Launched
from nommer.distributed.sync_norms import SyncNorms
from nommer.runs.checkpoint import AtomicCheckpointIO
from nommer.settings.choices import Precision

PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


class DDP(DDPStrategy):
    """Lightning's, for processes that have met already; it starts none, also in a notebook."""

    def _configure_launcher(self) -> None:
        pass


def make_trainer(
    *,
    device: str,
    devices: int,
    precision: Precision,
    out: Path,
    launch: Launch | None = None,
    nodes: int = 1,
    sync_norms: bool = False,
    **options: Any,
) -> L.Trainer:
    """A trainer that writes nowhere but where it is told, and whose checkpoints are atomic.

    Args:
        device: as settings name it.
        devices: of each machine.
        precision: number format.
        out: folder for all that Lightning may write.
        launch: of this process; by default it takes no notice of others, whatever started it.
        nodes: number of machines.
        sync_norms: batch norms see the batches of all processes.
        **options: others of Lightning's trainer.
    """
    accelerator, chosen = parse_device(device, devices)
    launch = launch or Launch()
    plugins: list[Any] = [AtomicCheckpointIO(), Launched(launch)]
    plugins += [SyncNorms()] if sync_norms else []
    return L.Trainer(
        accelerator={"cuda": "gpu"}.get(accelerator, accelerator),
        devices=chosen,
        num_nodes=nodes,
        strategy=DDP() if launch.world_size > 1 else "auto",
        precision=PRECISIONS[resolve_precision(precision, accelerator)],
        default_root_dir=out,
        plugins=plugins,
        use_distributed_sampler=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


_ADVICE = (
    ".*does not have many workers.*",
    ".*`srun` command is available.*",
    ".*The number of training batches.*",
    ".*is smaller than the logging interval.*",
    ".*resuming from a checkpoint that ended before the epoch ended.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*Grad strides do not match bucket view strides.*",
    ".*It is recommended to use .self.log.*sync_dist=True.*",
)
"""Warnings of Lightning and torch about choices that are made here on purpose."""


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advice."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in _ADVICE:
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
