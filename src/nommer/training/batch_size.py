"""The largest batch that fits.

A few small steps are measured, the rest is a straight line, and its end is tried.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import OutOfMemoryError

from nommer.acceleration.training import accelerate
from nommer.data.images import ImageError
from nommer.data.seeding import seed_all
from nommer.distributed.devices import processes_of, torch_device
from nommer.errors import InputError
from nommer.progress import notice
from nommer.runs.folder import RunFolder
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Found
from nommer.tasks.optimiser import build_optimizer
from nommer.tasks.task import Task
from nommer.training.freezing import freeze
from nommer.training.steps import move, step_loss

FIRST = 4
GPU_SHARE, CPU_SHARE = 0.9, 0.5
"""Of the memory that is free, what a step may take: other programs run beside it on the CPU."""
CLEAR_GROWTH = 2**26
"""Bytes by which a measured step must exceed the smallest one."""
FEWEST_STEPS = 10
"""Steps that an epoch keeps, unless the default batch leaves it fewer."""

_MIB = 2**20


def with_batch_size(
    task: Task, settings: TrainSettings, found: Found, run: RunFolder
) -> TrainSettings:
    """Settings in which `batch_size` "auto" is a number.

    That of the run which goes on, or the largest that fits.

    Raises:
        InputError: several processes, a device whose memory cannot be measured, or not even the
            smallest batch fits.
    """
    if settings.batch_size != "auto":
        return settings
    if settings.resume:
        started = run.settings()
        return replace(settings, batch_size=started.batch_size if started else None)
    if processes_of(settings) > 1:
        raise InputError(
            "--batch-size auto: is for a single process; give several the number that one finds"
        )
    usual = task.resolve(replace(settings, batch_size=None), found)
    measure, free = _memory_of(torch_device(settings.device))
    largest = max(usual.images_per_step, _even(len(found.data.splits["train"]) // FEWEST_STEPS))
    step = trial(task, usual, found)
    chosen, taken = largest_fitting(
        lambda images: measure(lambda: step(images)), limit=free, largest=largest
    )
    why = (
        "a tenth of the training images, or the usual number"
        if chosen == largest
        else "the largest that fits"
    )
    notice(
        f"batch size {chosen}: {why}; a step takes about {taken / _MIB:,.0f} MiB of "
        f"{free / _MIB:,.0f} that it may take"
    )
    return replace(settings, batch_size=chosen)


def trial(task: Task, settings: TrainSettings, found: Found) -> Callable[[int], None]:
    """A training step of a network of its own, on as many images as it is given."""
    seed_all(settings.seed)
    fresh = replace(settings, pretrained=None, reinit_head=False)
    model = accelerate(task.model.build(fresh, found.data), torch_device(settings.device))
    freeze(model.network, settings.freeze)
    module = task.training_module(settings, model, lr=settings.learning_rate, found=found)
    data = task.data.training(settings, found.data, model)
    device = torch_device(settings.device)
    module.to(device).train()
    network: Any = model.network
    optimizer = build_optimizer(settings.optim, network, settings.learning_rate)

    def step(images: int) -> None:
        loaded = data.train.__getitems__(
            [(number % len(data.train), number) for number in range(images)]
        )
        if isinstance(loaded, ImageError):
            raise loaded
        step_loss(
            module, move(data.collate(loaded), device), 0, precision=settings.precision
        ).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def largest_fitting(
    measure: Callable[[int], float], *, limit: float, largest: int
) -> tuple[int, float]:
    """The largest even batch, at most `largest`, whose step keeps within `limit`.

    And what it takes.

    Args:
        measure: from a batch to the bytes of its step; may run out of memory.
        limit: bytes.
        largest: batch not to exceed.

    Raises:
        InputError: not even a batch of 2 fits.
    """
    images = min(FIRST, largest)
    base = last = measure(images)
    first = images
    while last - base < CLEAR_GROWTH and last < limit and images < largest:
        images = min(2 * images, largest)
        last = measure(images)
    slope = max(last - base, 1.0) / max(images - first, 1)
    chosen = max(2, _even(int(min(largest, first + (limit - base) / slope))))
    while True:
        with contextlib.suppress(OutOfMemoryError):
            taken = measure(chosen)
            if taken <= limit:
                return chosen, taken
        if chosen == 2:
            raise InputError(
                "--batch-size auto: not even two images fit; use a smaller --image-size or --model"
            )
        chosen = max(2, _even(int(0.9 * chosen)))


def _even(number: int) -> int:
    return number - number % 2


def _memory_of(device: str) -> tuple[Callable[[Callable[[], None]], float], float]:
    """Return the function that measures the bytes of a step on a device, and its limit."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        return lambda step: _cuda_peak(step, device), GPU_SHARE * free
    if device == "cpu" and Path("/proc/self/clear_refs").exists():
        return _resident_peak, CPU_SHARE * free_memory()
    raise InputError(
        "--batch-size auto: measures memory of cuda, and of the CPU under Linux; give a number here"
    )


def _cuda_peak(step: Callable[[], None], device: str) -> float:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return float(torch.cuda.max_memory_reserved(device))


def _resident_peak(step: Callable[[], None]) -> float:
    """Return by how much the process grew at most."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the highest so far
    step()
    return max(0.0, _status("VmHWM") - before)


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def free_memory() -> float:
    """Return the bytes that are free in the machine, and in the container around it."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    limit, used = (Path("/sys/fs/cgroup") / f"memory.{name}" for name in ("max", "current"))
    with contextlib.suppress(OSError, ValueError):
        free = min(
            free, float(limit.read_text(encoding="ascii")) - float(used.read_text(encoding="ascii"))
        )
    return free
