"""Tell where the time of a network goes, by part of the network and by kind of operator.

    python benchmarks/profile_network.py --model nommer_tiny --fused --batch 4
    python benchmarks/profile_network.py --model nommer_tiny --mode training --precision bf16 \\
        --device cuda --batch 64
    python benchmarks/profile_network.py --model swin_tiny_patch4_window7_224 --trace trace.json

Parts are those of the forward pass, operators those of the whole call. On a GPU it is the GPU's
time. With --trace the whole record is written for chrome://tracing. The profiler makes small
operators look slower than they are.
"""

import argparse
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from nommer.benchmarking.cases import Case
from nommer.benchmarking.models import Networks
from nommer.benchmarking.timing import warm_up

PARTS = {
    r"stem": "stem",
    r"stages\.\d+\.downsample": "downsampling",
    r".*mixer\.convolution": "convolution context",
    r".*mixer\.window": "window context",
    r".*mixer\.spectral": "global context",
    r".*mixer\.nominator": "nominator",
    r"stages\.[01]\.blocks\.\d+\.mlp": "MLP, stages 1-2",
    r"stages\.[23]\.blocks\.\d+\.mixer": "attention, stages 3-4",
    r"stages\.[23]\.blocks\.\d+\.mlp": "MLP, stages 3-4",
    r"layers\.\d+\.downsample": "downsampling",
    r"layers\.\d+\.blocks\.\d+\.attn": "attention (peer)",
    r"layers\.\d+\.blocks\.\d+\.mlp": "MLP (peer)",
}
"""Names of modules, whole, and the part of the network that they are."""

CALLS, WHOLE = 5, "the whole call"


@contextmanager
def marked(network: nn.Module) -> Iterator[None]:
    """Mark the parts of a network in what the profiler records."""
    with ExitStack() as hooks:
        for name, module in network.named_modules():
            part = next(
                (part for pattern, part in PARTS.items() if re.fullmatch(pattern, name)), None
            )
            if part:
                hooks.enter_context(mark(module, f"part: {part}"))
        yield


@contextmanager
def mark(module: nn.Module, label: str) -> Iterator[None]:
    """Mark every call of a module."""
    opened: list[Any] = []

    def begin(_module: nn.Module, _inputs: Any) -> None:
        opened.append(record_function(label))
        opened[-1].__enter__()

    def end(_module: nn.Module, _inputs: Any, _outputs: Any) -> None:
        opened.pop().__exit__(None, None, None)

    with module.register_forward_pre_hook(begin), module.register_forward_hook(end):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nommer_tiny")
    parser.add_argument("--fused", action="store_true")
    parser.add_argument("--mode", choices=["inference", "training"], default="inference")
    parser.add_argument(
        "--precision", choices=["32", "bf16", "16", "bf16-true", "16-true"], default="32"
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=15)
    parser.add_argument("--trace", metavar="FILE")
    options = parser.parse_args()
    networks, on_gpu = Networks(options.device), options.device.startswith("cuda")
    backend = "fused" if options.fused else "eager"
    case = Case(
        options.model, backend, options.mode, options.precision, options.size, options.batch
    )
    if options.mode == "training":
        network = networks.training(case)
        step, _ = networks.training_step(network, case)
    else:
        network, (step, _) = networks.inference(case), networks.step(case)
    seconds = warm_up(step, networks.device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with marked(network), profile(activities=activities) as profiler:
        for _ in range(CALLS):
            with record_function(WHOLE):
                step()
        if on_gpu:
            torch.cuda.synchronize()
    if options.trace:
        profiler.export_chrome_trace(options.trace)
    print(f"{case}, {options.device}: {1000 * seconds:.1f} ms per call without the profiler\n")
    print_tables(profiler.key_averages(), "device" if on_gpu else "cpu", options.rows)


def print_tables(events: Any, where: str, rows: int) -> None:
    """Milliseconds per call of parts, and of operators by their own time, as Markdown."""
    marks = {  # on a GPU the profiler gives every mark a second time, as what the GPU saw of it
        event.key.removeprefix("part: "): getattr(event, f"{where}_time_total") / 1000 / CALLS
        for event in events
        if event.key.startswith(("part: ", WHOLE)) and event.device_type == DeviceType.CPU
    }
    total = marks.pop(WHOLE)
    operators = {
        event.key: getattr(event, f"self_{where}_time_total") / 1000 / CALLS
        for event in events
        if not event.key.startswith(("part: ", WHOLE)) and event.device_type == DeviceType.CPU
    }
    for what, found in (("part of the forward pass", marks), ("operator, its own time", operators)):
        print(f"| {what} | ms per call | share of the call |\n|---|---|---|")
        for name, time in sorted(found.items(), key=lambda item: -item[1])[:rows]:
            print(f"| {name} | {time:.2f} | {time / total:.1%} |")
        rest = total - sum(found.values())
        print(
            f"| all else | {rest:.2f} | {rest / total:.1%} |\n| the call | {total:.2f} | 100% |\n"
        )


if __name__ == "__main__":
    main()
