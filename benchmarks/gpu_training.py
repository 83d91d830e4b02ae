"""The parts of `gpu.py` that train.

Each yields its rows as they are found.
"""

import json
import math
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import timm
import torch
import torch.nn.functional as F
from gpu_bench import Bench, Row, Sizes
from torch import nn

import nommer  # noqa: F401  registers the models
from nommer.acceleration.compile import sound_attention
from nommer.acceleration.training import accelerate
from nommer.benchmarking.timing import seconds_of


def compiled(bench: Bench) -> Iterator[Row]:
    """Yield whether compiled training steps run, and how many times as fast as eager ones."""
    sizes, steps = bench.sizes, {}
    jobs = [(name, how) for how in ("eager", "compiled") for name in (sizes.model, sizes.peer)]
    for model, how in [*jobs, (sizes.model, "blocks")]:
        case = bench.case(model, how, "training", "bf16", sizes.batch)
        try:
            step, _ = bench.networks.step(case)
            start = time.monotonic()
            step()
            said = f"runs; the first step took {time.monotonic() - start:.1f} s"
            steps[f"{model} {how}"] = step
        except Exception:
            said = traceback.format_exc(limit=-3)
        yield {"what": f"training step, {model}, {how}", "result": said}
        if bench.late:
            return
    seconds = bench.time(steps)
    for name, value in seconds.items():
        eager = seconds.get(f"{name.split()[0]} eager")
        peer = seconds.get(f"{sizes.peer} {name.split()[1].replace('blocks', 'compiled')}")
        yield {
            "what": f"training, {name}, batch {sizes.batch}, bf16",
            "images/s": sizes.batch / value,
            "times eager": eager / value if eager else None,
            "times the peer": peer / value if peer else None,
        }


def trainer(bench: Bench, precision: torch.dtype | None) -> Callable[[], tuple[float, bool]]:
    """Return a step at the small size that gives its loss, and whether gradients are finite."""
    sizes, device = bench.sizes, bench.device
    torch.manual_seed(0)
    options = {"img_size": sizes.small_side, "patch_size": sizes.small_stride, "num_classes": 10}
    network = accelerate(timm.create_model(sizes.model, **options).to(device).train())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    scaler = torch.GradScaler(device.type, enabled=precision is torch.float16)
    labels = torch.arange(sizes.small_batch, device=device) % 10
    images = torch.randn(sizes.small_batch, 3, sizes.small_side, sizes.small_side, device=device)

    def step() -> tuple[float, bool]:
        optimizer.zero_grad(set_to_none=True)
        noisy = images + 0.1 * torch.randn_like(images)
        with torch.autocast(device.type, dtype=precision) if precision else nullcontext():
            loss = F.cross_entropy(network(noisy).float(), labels)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return loss.item(), bool(norm.isfinite())

    return step


def run_steps(bench: Bench, step: Callable[[], tuple[float, bool]], steps: int) -> Row:
    """Take steps until the loss is NaN, and tell what became of it."""
    start, losses, unsound = time.monotonic(), [], []
    for number in range(steps):
        loss, finite = step()
        losses.append(loss)
        if not finite:
            unsound.append(number)
        if not math.isfinite(loss) or bench.late:
            break
    seconds = time.monotonic() - start
    nan = not math.isfinite(losses[-1])
    return {
        "result": f"NaN or infinite loss in step {len(losses)}" if nan else "loss finite",
        "steps": len(losses),
        "first loss": losses[0],
        "last loss": losses[-1],
        "steps with gradients not finite": len(unsound),
        "first of them": unsound[0] if unsound else None,
        "images/s": bench.sizes.small_batch * len(losses) / seconds,
    }


def nan(bench: Bench) -> Iterator[Row]:
    """Yield what becomes of the loss with and without cuDNN's attention."""
    with sound_attention():
        row = run_steps(bench, trainer(bench, torch.bfloat16), bench.sizes.steps)
    yield {"what": f"{bench.sizes.small_side} pixels, without cuDNN's attention, bf16"} | row
    row = run_steps(bench, trainer(bench, torch.bfloat16), bench.sizes.steps // 3)
    yield {"what": f"{bench.sizes.small_side} pixels, torch's choice of attention, bf16"} | row


def half(bench: Bench) -> Iterator[Row]:
    """Yield losses and speed in three number formats."""
    formats = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
    for name, dtype in formats.items():
        with sound_attention():
            step = trainer(bench, dtype)
            run_steps(bench, step, 2)  # warms up; float16's scale may skip the first steps
            row = run_steps(bench, step, bench.sizes.half_steps)
        yield {"what": f"training, {name}, {bench.sizes.small_side} pixels"} | row


def processes(bench: Bench) -> Iterator[Row]:
    """Yield the speed of a training step in one process, and in two where there are two GPUs."""
    count = torch.cuda.device_count() if bench.device.type == "cuda" else 0
    for world in (1, 2) if count > 1 else (1,):
        with TemporaryDirectory(prefix="nommer-") as folder:
            given = (world, bench.sizes, bench.device.type, folder)
            if world == 1:
                work(0, *given)
            else:
                torch.multiprocessing.spawn(work, given, nprocs=world)
            row = json.loads((Path(folder) / "row.json").read_text(encoding="utf-8"))
        yield {"what": f"training step in {world} processes, bf16"} | row
    if count < 2:
        yield {"what": "training step in 2 processes", "result": f"not run: {count} GPUs"}


def work(rank: int, world: int, sizes: Sizes, kind: str, folder: str) -> None:
    """Train in one of several processes; the first writes how fast, and that all agree."""
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if kind == "cuda" else "gloo",
        init_method=Path(folder, "meeting").absolute().as_uri(),
        rank=rank,
        world_size=world,
    )
    try:
        row = _work(rank, world, sizes, device)
    finally:
        torch.distributed.destroy_process_group()
    if rank == 0:
        Path(folder, "row.json").write_text(json.dumps(row), encoding="utf-8")


def _work(rank: int, world: int, sizes: Sizes, device: torch.device) -> Row:
    torch.manual_seed(0)
    network = accelerate(timm.create_model(sizes.model, num_classes=10, img_size=sizes.side))
    devices = [device.index] if device.type == "cuda" else None
    shared = nn.parallel.DistributedDataParallel(network.to(device).train(), device_ids=devices)
    optimizer = torch.optim.AdamW(shared.parameters(), lr=1e-4)
    torch.manual_seed(rank)
    images = torch.randn(sizes.batch, 3, sizes.side, sizes.side, device=device)
    labels = torch.arange(sizes.batch, device=device) % 10

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = F.cross_entropy(shared(images).float(), labels)
        loss.backward()
        optimizer.step()

    # the same number of steps in each process: gradients are exchanged in each
    for _ in range(3):
        step()
    seconds = seconds_of(step, device, times=sizes.rounds)
    total = sum(weight.detach().double().sum() for weight in network.parameters())
    sums = [torch.zeros_like(total) for _ in range(world)]
    torch.distributed.all_gather(sums, total)
    agree = all(torch.equal(one, sums[0]) for one in sums)
    return {
        "images/s": world * sizes.batch / seconds,
        "result": "all processes have the same weights" if agree else "WEIGHTS DIFFER",
    }
