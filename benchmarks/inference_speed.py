"""Inference time of NomMer, plain and fused, against timm's Swin of the same size, interleaved in one process.

python benchmarks/inference_speed.py --variant nommer_tiny --peer swin_tiny_patch4_window7_224 --batch 4 --rounds 15

Prints medians with quartiles and, comparable between machines, the median of the ratios peer / ours per round.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import timm
import torch

import nommer


def seconds(call: Callable[[], object]) -> float:
    """Duration of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(models: dict[str, torch.nn.Module], images: torch.Tensor, rounds: int) -> dict[str, list[float]]:
    """Seconds per round and model, the models taking turns, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for name, model in models.items():
                duration = seconds(lambda model=model: model(images))
                if turn:
                    times[name].append(duration)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", default="nommer_tiny")
    parser.add_argument("--peer", default="swin_tiny_patch4_window7_224")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    plain = timm.create_model(options.variant).eval()
    peer = timm.create_model(options.peer).eval()
    models = {options.peer: peer, options.variant: plain, f"{options.variant}, fused": nommer.fuse(plain)}
    times = measure(models, torch.randn(options.batch, 3, 224, 224), options.rounds)
    print(f"batch {options.batch}, 224 x 224, float32, {options.threads} threads, {options.rounds} rounds\n")
    print("| model | ms per batch, median (quartiles) | speed against the peer, median of rounds |")
    print("|---|---|---|")
    for name, values in times.items():
        low, middle, high = statistics.quantiles([1000 * value for value in values], n=4)
        ratio = statistics.median(theirs / ours for theirs, ours in zip(times[options.peer], values, strict=True))
        print(f"| {name} | {middle:.0f} ({low:.0f} to {high:.0f}) | {ratio:.2f} |")


if __name__ == "__main__":
    main()
