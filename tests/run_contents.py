"""Contents of run folders, read and compared to the last bit."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from benchmarks.same_runs import rows as rows  # noqa: PLC0414 - for the tests
from benchmarks.same_runs import same as same  # noqa: PLC0414
from nommer.training.ema import AveragedWeights


@contextmanager
def interrupted(step: int) -> Iterator[None]:
    """Interrupt a training with averaged weights after this step, as Ctrl-C does."""
    update = AveragedWeights.on_train_batch_end

    def stop(self, trainer, *others):
        update(self, trainer, *others)
        if trainer.global_step == step:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AveragedWeights, "on_train_batch_end", stop)
        yield


def checkpoint(run, name="last"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
