"""Everything that was never run on a GPU, in one script of under ten minutes.

    python benchmarks/gpu.py                             # runs/gpu/report.md and report.json
    python benchmarks/gpu.py --minutes 4 --parts compiled,nan
    python benchmarks/gpu.py --tiny --out runs/gpu-tiny  # small sizes, on the CPU too: does it run?

Both files are written again after every row, so nothing is lost where time runs out or the process
is ended. A part that fails leaves its traceback in the report and the next one begins. Parts, the
most wanted first:

- compiled: the training step of NomMer-T eager, compiled and by blocks, beside Swin-T's;
- nan: 500 training steps at 64 pixels, without cuDNN's attention and with it: NaN?
- half: training in float16 and bfloat16: are losses finite, and how fast is it?
- graphs: NomMer-S and -B for one image, launched kernel by kernel and as one CUDA graph;
- throughput: images per second at batches of 1 to 256, beside three networks of timm;
- flex: window attention with its bias by torch's flex attention, beside what is used now;
- processes: a training step in two processes, where there are two GPUs.
"""

import argparse
import json
import math
import statistics
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention.flex_attention import flex_attention

import nommer  # noqa: F401  registers the models
from nommer.acceleration.compile import sound_attention
from nommer.acceleration.training import accelerate
from nommer.benchmarking.cases import Case
from nommer.benchmarking.models import Networks
from nommer.benchmarking.timing import time_in_turns, warm_up

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    model: str = "nommer_tiny"
    large: tuple[str, ...] = ("nommer_small", "nommer_base")
    peer: str = "swin_tiny_patch4_window7_224"
    peers: tuple[str, ...] = ("swin_tiny_patch4_window7_224", "convnext_tiny", "resnet50")
    side: int = 224
    batch: int = 128
    batches: tuple[int, ...] = (1, 4, 16, 64, 256)
    small_side: int = 64
    small_stride: int = 2
    """Of the stem at `small_side`: 64 tokens in stage 3, where cuDNN's attention gave NaN."""
    small_batch: int = 128
    steps: int = 500
    half_steps: int = 60
    windows: int = 64 * 64
    rounds: int = 10
    seconds: float = 1.0


TINY = Sizes(
    model="nommer_micro",
    large=("nommer_micro",),
    peer="test_resnet",
    peers=("test_resnet",),
    side=32,
    batch=2,
    batches=(1, 2),
    small_side=32,
    small_batch=2,
    steps=3,
    half_steps=2,
    windows=2,
    rounds=1,
    seconds=0.01,
)


@dataclass
class Bench:
    """The sizes, the device, and when to be done."""

    sizes: Sizes
    device: torch.device
    until: float
    networks: Networks = field(init=False)

    def __post_init__(self) -> None:
        self.networks = Networks(str(self.device))

    @property
    def late(self) -> bool:
        """True once the time is spent."""
        return time.monotonic() > self.until

    def case(self, model: str, backend: str, mode: Any, precision: str, batch: int) -> Case:
        """Name a case at the usual side."""
        return Case(model, backend, mode, precision, self.sizes.side, batch)

    def time(self, calls: dict[str, Callable[[], Any]], *, alone: bool = False) -> dict[str, float]:
        """Return the median seconds of calls that are warmed up and take turns."""
        expected = {name: warm_up(call, self.device) for name, call in calls.items()}
        found = time_in_turns(
            calls,
            expected,
            self.device,
            rounds=self.sizes.rounds,
            seconds=self.sizes.seconds,
            alone=alone,
        )
        return {name: statistics.median(times) for name, times in found.items()}


# ---- the parts: each yields rows as they are found


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


def graphs(bench: Bench) -> Iterator[Row]:
    """Yield the time of one image, kernel by kernel and as one CUDA graph."""
    sizes = bench.sizes
    for model in sizes.large:
        network = bench.networks.inference(
            bench.case(model, "fused", "inference", "bf16-true", batch=1)
        )
        images = torch.randn(1, 3, sizes.side, sizes.side, device=bench.device).bfloat16()
        with torch.inference_mode():
            replay, out = captured(network, images)
            replay()
            difference = (out() - network(images)).abs().max().item()
            calls = {"eager": lambda n=network, i=images: n(i), "graph": replay}
            seconds = bench.time(calls, alone=True)
        yield {
            "what": f"{model}, fused, bf16, one image",
            "ms eager": 1000 * seconds["eager"],
            "ms graph": 1000 * seconds["graph"],
            "times eager": seconds["eager"] / seconds["graph"],
            "largest difference": difference,
            "result": "" if bench.device.type == "cuda" else "no graphs here: eager twice",
        }


def captured(
    network: nn.Module, images: torch.Tensor
) -> tuple[Callable[[], Any], Callable[[], torch.Tensor]]:
    """Return a call that runs the network on `images` as a graph, and one that gives its output."""
    if images.device.type != "cuda":
        return lambda: network(images), lambda: network(images)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            network(images)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = network(images)
    return graph.replay, lambda: out


def throughput(bench: Bench) -> Iterator[Row]:
    """Yield images per second of each network at each batch size, in turns."""
    sizes = bench.sizes
    runners = [(sizes.model, "eager"), (sizes.model, "fused")]
    runners += [(name, "eager") for name in sizes.peers]
    for batch in sizes.batches:
        calls = {
            f"{model} {how}": bench.networks.step(
                bench.case(model, how, "inference", "bf16", batch)
            )[0]
            for model, how in runners
        }
        seconds = bench.time(calls, alone=batch == 1)
        for name, value in seconds.items():
            yield {
                "what": f"inference, {name}, batch {batch}, bf16",
                "images/s": batch / value,
                "times the peer": seconds[f"{sizes.peer} eager"] / value,
            }
        if bench.late:
            return


def flex(bench: Bench) -> Iterator[Row]:
    """Yield the time of attention in windows of 7 x 7 tokens with a bias, in two forms."""
    tokens, heads, width, windows = 49, 2, 48, bench.sizes.windows
    dtype = torch.bfloat16 if bench.device.type == "cuda" else torch.float32
    query, key, value = (
        torch.randn(windows, heads, tokens, width, device=bench.device, dtype=dtype)
        for _ in range(3)
    )
    # rows of 56, as the window context lays its bias out: fused attention wants multiples of 8
    bias = torch.randn(heads, tokens, 56, device=bench.device, dtype=dtype)[..., :tokens]

    def add_bias(score: Any, _batch: Any, head: Any, row: Any, column: Any) -> Any:
        return score + bias[head, row, column]

    flexible = torch.compile(flex_attention) if bench.device.type == "cuda" else flex_attention
    calls = {
        "scaled_dot_product_attention": lambda: F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias
        ),
        "flex_attention": lambda: flexible(query, key, value, score_mod=add_bias),
    }
    with torch.inference_mode():
        difference = (calls["flex_attention"]() - calls["scaled_dot_product_attention"]()).abs()
        seconds = bench.time(calls)
    for name, one in seconds.items():
        yield {
            "what": f"{windows} windows, forward pass, {name}",
            "ms": 1000 * one,
            "times eager": seconds["scaled_dot_product_attention"] / one,
            "largest difference": difference.max().item(),
        }


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
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.monotonic()
    for _ in range(sizes.rounds):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = (time.monotonic() - start) / sizes.rounds
    total = sum(weight.detach().double().sum() for weight in network.parameters())
    sums = [torch.zeros_like(total) for _ in range(world)]
    torch.distributed.all_gather(sums, total)
    agree = all(torch.equal(one, sums[0]) for one in sums)
    return {
        "images/s": world * sizes.batch / seconds,
        "result": "all processes have the same weights" if agree else "WEIGHTS DIFFER",
    }


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "compiled": compiled,
    "nan": nan,
    "half": half,
    "graphs": graphs,
    "throughput": throughput,
    "flex": flex,
    "processes": processes,
}


# ---- the report


@dataclass
class Report:
    """What is known so far, in two files."""

    folder: Path
    facts: Row
    parts: dict[str, Row] = field(default_factory=dict)

    def write(self) -> None:
        """Write both files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        told = json.dumps({**self.facts, "parts": self.parts}, indent=1)
        (self.folder / "report.json").write_text(told, encoding="utf-8")
        (self.folder / "report.md").write_text(self.in_markdown(), encoding="utf-8")

    def in_markdown(self) -> str:
        """Return the tables of all parts."""
        facts = [f"- {name}: {value}" for name, value in self.facts.items()]
        lines = ["# What a GPU was asked", "", *facts]
        for name, part in self.parts.items():
            lines += ["", f"## {name}: {part['state']}", "", *_table(part["rows"])]
            lines += ["", *(f"- warned: {_cell(one)}" for one in part.get("warnings", ()))]
            if part.get("traceback"):
                lines += ["", "```", part["traceback"].rstrip(), "```"]
        return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return ["no rows"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    return lines + [f"| {' | '.join(_cell(row.get(name)) for name in names)} |" for row in rows]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else " ".join(str(value).replace("|", "\\|").split())


def run_parts(names: Sequence[str], bench: Bench, report: Report) -> None:
    """Run the parts in turn; what fails is reported and stops no other."""
    for name in names:
        part: Row = {"state": "running", "rows": []}
        report.parts[name] = part
        if bench.late:
            part["state"] = "left out, the time is spent"
            report.write()
            continue
        start = time.monotonic()
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("default")
                for row in PARTS[name](bench):
                    part["rows"].append(row)
                    part["warnings"] = sorted({str(one.message) for one in warned})
                    report.write()
            part["state"] = f"done in {time.monotonic() - start:.0f} s"
        except Exception as error:
            part["state"] = f"failed: {type(error).__name__}"
            part["traceback"] = traceback.format_exc()
        finally:
            report.write()
        print(f"{name}: {part['state']}", flush=True)
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()


def facts_of(device: torch.device, sizes: Sizes) -> Row:
    """Return what the numbers hang on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "GPUs": torch.cuda.device_count(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "sizes": "tiny: these numbers tell nothing" if sizes is TINY else "full",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--parts", default=",".join(PARTS), help="with commas")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="small sizes, nothing compiled")
    options = parser.parse_args(arguments)
    names = options.parts.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"--parts {','.join(unknown)}: choose from {', '.join(PARTS)}")
    if options.device == "cpu" and not options.tiny:
        parser.error("there is no GPU here; --tiny tries the script out on the CPU")
    sizes, device = TINY if options.tiny else Sizes(), torch.device(options.device)
    bench = Bench(sizes, device, time.monotonic() + 60 * options.minutes)
    with torch.compiler.set_stance("force_eager") if options.tiny else nullcontext():
        run_parts(names, bench, Report(options.out, facts_of(device, sizes)))
    print(options.out / "report.md")


if __name__ == "__main__":
    main()
