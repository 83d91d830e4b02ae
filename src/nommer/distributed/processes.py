"""Distributed runs: the launcher, ranks, and the end of the process group."""

import os
import sys
import warnings
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_utilities.core.rank_zero import rank_zero_only

from nommer.errors import InputError


def started_processes(devices: int, nodes: int) -> dict[str, Any]:
    """The options `devices` and `nodes`: as given, or under torchrun as that started this process.

    Raises:
        InputError: both are given, and differ; or several nodes, and nobody started processes on
            them.
    """
    if not TorchElasticEnvironment.detect():
        if nodes > 1 and started_by() is None:
            raise InputError(
                f"--nodes {nodes}: processes of other machines have to be started by torchrun or "
                "srun"
            )
        return {"devices": devices, "nodes": nodes}
    own = int(os.environ["LOCAL_WORLD_SIZE"])
    started = {"devices": own, "nodes": int(os.environ["WORLD_SIZE"]) // own}
    for name, given in (("devices", devices), ("nodes", nodes)):
        if given not in (1, started[name]):
            raise InputError(
                f"--{name} {given}: torchrun started {started[name]}; leave it out, or give both "
                "the same"
            )
    return started


def started_by() -> ClusterEnvironment | None:
    """Return the launcher of this process and its siblings, torchrun or SLURM, or None.

    Without one Lightning starts the others.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*`srun` command is available.*"
        )  # but need not be used
        kinds = [kind for kind in (TorchElasticEnvironment, SLURMEnvironment) if kind.detect()]
    return kinds[0]() if kinds else None


def process_rank() -> int:
    """This process's rank, before any process group exists."""
    return int(getattr(rank_zero_only, "rank", None) or 0)


def leave_process_group() -> None:
    """After training the first process goes on alone; the others are done and end."""
    if not torch.distributed.is_initialized():
        return
    rank = torch.distributed.get_rank()
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    if rank > 0:
        sys.exit(0)
