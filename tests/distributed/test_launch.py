"""Surroundings are believed only where a run has several processes."""

import pytest

from nommer.distributed.launch import Launch, find_launch
from nommer.errors import InputError

IN_A_JOB = {"SLURM_JOB_ID": "123", "SLURM_JOB_NAME": "job", "SLURM_NTASKS": "4",
            "SLURM_PROCID": "2", "SLURM_LOCALID": "2", "SLURM_NODEID": "0",
            "SLURM_NODELIST": "localhost"}  # fmt: skip
BY_SRUN = IN_A_JOB | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}
STALE = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "NODE_RANK": "1"}
BY_TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "RANK": "3", "LOCAL_RANK": "1", "GROUP_RANK": "1",
               "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}  # fmt: skip


@pytest.fixture
def surrounded(monkeypatch):
    def surround(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return surround


@pytest.mark.parametrize("variables", [{}, IN_A_JOB, BY_SRUN, STALE])
def test_a_run_of_one_process_is_the_first_whatever_surrounds_it(surrounded, variables):
    surrounded(variables)
    assert find_launch("cpu", 1, 1) == (Launch(), 1, 1)


@pytest.mark.parametrize("variables", [{}, IN_A_JOB, STALE])
def test_without_a_launcher_the_first_process_starts_the_others(surrounded, variables, capsys):
    surrounded(variables)
    launch, devices, nodes = find_launch("cpu", 4, 1)
    assert launch == Launch(world_size=4, launcher="nommer")
    assert (devices, nodes) == (4, 1)
    said = capsys.readouterr().err.replace("\n", " ")
    assert ("srun did not start this process" in said) == (variables is IN_A_JOB)


def test_srun_and_torchrun_tell_the_ranks(surrounded):
    surrounded(BY_SRUN)
    assert find_launch("cpu", 4, 1)[0] == Launch(2, 2, 0, 4, "srun")
    surrounded(BY_TORCHRUN)
    assert find_launch("cpu", 1, 1) == (Launch(3, 1, 1, 4, "torchrun"), 2, 2)


@pytest.mark.parametrize(
    ("variables", "devices", "nodes", "message"),
    [
        (BY_SRUN, 2, 1, "srun started 4 in all; give srun --ntasks-per-node 2"),
        (BY_SRUN, 2, 2, "need 2 tasks on each machine"),  # its local rank is 2
        (IN_A_JOB, 2, 2, "--nodes 2: processes of other machines have to be started by torchrun"),
        (BY_TORCHRUN, 3, 1, "--devices 3: torchrun started 2"),
    ],
)
def test_what_the_launcher_did_not_start_is_refused(surrounded, variables, devices, nodes, message):
    surrounded(variables)
    with pytest.raises(InputError, match=message):
        find_launch("cpu", devices, nodes)
