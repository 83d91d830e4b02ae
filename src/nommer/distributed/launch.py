"""The launch of a process: who started it, and its rank among the processes of its run.

Surroundings are believed only where the run itself has several processes: shells, containers and
job scripts leave `RANK` or `SLURM_PROCID` to programs that they are not meant for.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_utilities.core.rank_zero import rank_zero_only

from nommer.distributed.devices import count_processes
from nommer.errors import TORCHRUN, InputError
from nommer.progress import notice


@dataclass(frozen=True)
class Launch:
    """A process of a run; by default the only one."""

    rank: int = 0
    local_rank: int = 0
    """Rank among the processes of its machine."""
    node_rank: int = 0
    """Number of its machine."""
    world_size: int = 1
    launcher: Literal["none", "torchrun", "srun", "nommer"] = "none"

    @property
    def is_external(self) -> bool:
        """Others than this package started the processes, all of them at once."""
        return self.launcher in ("torchrun", "srun")


def find_launch(device: str, devices: int, nodes: int) -> tuple[Launch, int, int]:
    """Return the launch of this process, and the devices per machine and machines of its run.

    Raises:
        InputError: the launcher started other numbers of processes, or several machines are asked
            for and nobody started processes on them.
    """
    if os.environ.keys() >= TORCHRUN:
        return _by_torchrun(devices, nodes)
    per_node = count_processes(device, devices)
    if per_node * nodes == 1:
        return Launch(), devices, nodes
    if _srun_tasks() > 1:
        return _by_srun(per_node, nodes), devices, nodes
    if nodes > 1:
        raise InputError(
            f"--nodes {nodes}: processes of other machines have to be started by torchrun or srun"
        )
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        notice(
            f"this SLURM job has several tasks but srun did not start this process; it starts the "
            f"other processes of --devices {per_node} itself"
        )
    return Launch(world_size=per_node, launcher="nommer"), devices, nodes


def _by_torchrun(devices: int, nodes: int) -> tuple[Launch, int, int]:
    rank, world, own = (
        int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    )
    started = {"devices": own, "nodes": world // own}
    for name, given in (("devices", devices), ("nodes", nodes)):
        if given not in (1, started[name]):
            raise InputError(
                f"--{name} {given}: torchrun started {started[name]}; leave it out, or give both "
                "the same"
            )
    if world == 1:
        return Launch(), own, 1
    local, node = int(os.environ.get("LOCAL_RANK", rank % own)), os.environ.get("GROUP_RANK", "0")
    return Launch(rank, local, int(node), world, "torchrun"), own, world // own


def _srun_tasks() -> int:
    """Tasks of the job step that srun started this process in; 0 outside of a step."""
    if "SLURM_STEP_ID" not in os.environ:
        return 0
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", os.environ.get("SLURM_NTASKS", "1")))


def _by_srun(per_node: int, nodes: int) -> Launch:
    tasks = _srun_tasks()
    rank, local, node = (
        int(os.environ[f"SLURM_{name}"]) for name in ("PROCID", "LOCALID", "NODEID")
    )
    if tasks != per_node * nodes or local >= per_node:
        raise InputError(
            f"--devices {per_node} --nodes {nodes}: need {per_node} tasks on each machine, and "
            f"srun started {tasks} in all; give srun --ntasks-per-node {per_node} and --nodes "
            f"{nodes}"
        )
    return Launch(rank, local, node, tasks, "srun")


@contextmanager
def acting_as(rank: int) -> Iterator[None]:
    """Let Lightning take this process for the one of `rank`.

    Its own notion is read from the environment when it is imported.
    """
    lightnings: Any = rank_zero_only
    before = getattr(lightnings, "rank", None)
    lightnings.rank = rank
    try:
        yield
    finally:
        lightnings.rank = before


class Launched(ClusterEnvironment):
    """A launch as Lightning asks for it; the process group is there before Lightning needs it."""

    def __init__(self, launch: Launch) -> None:
        super().__init__()
        self.launch = launch

    @property
    def creates_processes_externally(self) -> bool:
        """All processes are started."""
        return True

    @property
    def main_address(self) -> str:
        """Not used: the processes have met."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Not used: the processes have met."""
        return 0

    @staticmethod
    def detect() -> bool:
        """Never of its own accord."""
        return False

    def world_size(self) -> int:
        """Return the number of all processes."""
        return self.launch.world_size

    def set_world_size(self, size: int) -> None:
        """Keep the size of the launch."""

    def global_rank(self) -> int:
        """Return the rank among all processes."""
        return self.launch.rank

    def set_global_rank(self, rank: int) -> None:
        """Keep the rank of the launch."""

    def local_rank(self) -> int:
        """Return the rank on this machine."""
        return self.launch.local_rank

    def node_rank(self) -> int:
        """Return the number of this machine."""
        return self.launch.node_rank

    def validate_settings(self, num_devices: int, num_nodes: int) -> Any:
        """Accept all; `find_launch` has checked."""
