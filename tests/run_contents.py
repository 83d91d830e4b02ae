"""Contents of run folders, read and compared to the last bit."""

import torch

from benchmarks.same_runs import rows as rows  # noqa: PLC0414 - for the tests
from benchmarks.same_runs import same as same  # noqa: PLC0414


def checkpoint(run, name="last"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
