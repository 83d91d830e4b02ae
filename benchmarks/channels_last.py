"""Time networks on the CPU with the weights of their convolutions channels-last, and as built.

    python benchmarks/channels_last.py --models resnet10t efficientnet_lite0 nommer_nano64
    python benchmarks/channels_last.py --mode inference --models efficientnet_lite0 --size 128

`nommer train` lays the weights of every network out so, and those of every teacher. Both forms have
the same values and take turns on one thread; milliseconds are the processor's, and a ratio is the
median of those within a round: below 1 channels-last is faster. NomMers have the faster modules of
training.
"""

import argparse
import copy
import statistics
from collections.abc import Callable
from functools import partial

import timm
import torch
from torch import Tensor, nn
from turns import in_turns, ratio, seconds_of

import nommer
from nommer.acceleration.compile import channels_last
from nommer.models.networks import build_timm


def built(name: str, size: int) -> nn.Module:
    """Return a network of 20 classes, a NomMer as `train` has it."""
    torch.manual_seed(0)
    if not name.startswith("nommer_"):
        return build_timm(name, num_classes=20)
    return nommer.accelerate(timm.create_model(name, num_classes=20, img_size=size))


def called(network: nn.Module, images: Tensor, *, training: bool, autocast: bool) -> None:
    """Give scores, and in training the gradients of all weights."""
    with torch.set_grad_enabled(training):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            scores = network(images)
        if training:
            scores.float().square().mean().backward()
            network.zero_grad()


def compared(name: str, told: argparse.Namespace) -> dict[str, list[float]]:
    """Return the seconds of both forms in every round."""
    network = built(name, told.size)
    network.train(told.mode == "training")
    moved = copy.deepcopy(network)
    channels_last(moved)
    images = torch.randn(told.batch, 3, told.size, told.size)
    training, autocast = told.mode == "training", told.precision == "bf16"
    forms: dict[str, Callable[[], float]] = {
        form: partial(
            seconds_of, partial(called, one, images, training=training, autocast=autocast)
        )
        for form, one in (("as built", network), ("channels last", moved))
    }
    return in_turns(forms, told.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", required=True, help="variants, or names of timm")
    parser.add_argument("--mode", choices=["training", "inference"], default="training")
    parser.add_argument("--precision", choices=["32", "bf16"], default="32")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    told = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | as built, ms | channels last, ms | ratio (quartiles) |\n|---|---|---|---|")
    for name in told.models:
        times = compared(name, told)
        first, last = (1000 * statistics.median(spent) for spent in times.values())
        shown = ratio(times["channels last"], times["as built"])
        print(f"| {name} | {first:.1f} | {last:.1f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
