"""The surroundings of a call: environment, random generators, torch's flags.

A training leaves them as it found them.
"""

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from nommer.progress import console

VARIABLES = (
    *("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("OMP_NUM_THREADS", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "CUBLAS_WORKSPACE_CONFIG"),
    "MLFLOW_DISABLE_TELEMETRY",
)
"""Variables that Lightning, or a logger, may set."""


@contextmanager
def unchanged_surroundings() -> Iterator[None]:
    """Put everything global back that a training changes, however it ends."""
    restore = [
        _variables(),
        _generators(),
        _torch_flags(),
        _console(),
        _exception_hook(),
    ]
    try:
        yield
    finally:
        for undo in restore:
            undo()


def _variables() -> Callable[[], None]:
    before = {name: os.environ.get(name) for name in VARIABLES}

    def undo() -> None:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    return undo


def _generators() -> Callable[[], None]:
    states: tuple[Any, ...] = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    on_gpus = torch.cuda.get_rng_state_all() if started else []

    def undo() -> None:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)

    return undo


def _torch_flags() -> Callable[[], None]:
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, threads = torch.backends.cudnn.benchmark, torch.get_num_threads()
    cudnn, learns = torch.backends.cudnn.deterministic, torch.is_grad_enabled()
    precision = torch.get_float32_matmul_precision()

    def undo() -> None:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, cudnn
        torch.set_num_threads(threads)
        torch.set_grad_enabled(learns)
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)

    return undo


def _exception_hook() -> Callable[[], None]:
    """Torch replaces the hook by one that names ranks, when a process group is made."""
    hook = sys.excepthook

    def undo() -> None:
        sys.excepthook = hook

    return undo


def _console() -> Callable[[], None]:
    quiet = console.quiet

    def undo() -> None:
        console.quiet = quiet

    return undo
