"""Time each module of `nommer.acceleration.training`, alone and together, beside the plain network.

    python benchmarks/training_forms.py --model nommer_tiny --size 224 --batch 8
    python benchmarks/training_forms.py --model nommer_tiny --size 224 --batch 4 --precision bf16
    python benchmarks/training_forms.py --model nommer_nano --size 64 --stride 2 --batch 64
    python benchmarks/training_forms.py --model nommer_tiny --batch 8 --mode inference

The forms take turns, in another order in each round, on one core; seconds are those of the
process, which other programs on the machine disturb less than the clock. A ratio is the median of
those within a round: below 1 the form is faster than the plain network. bf16 is autocast's, as in
`nommer train --precision bf16`.
"""

import argparse
import copy
import statistics
from collections.abc import Callable
from functools import partial

import timm
import torch
import torch.nn.functional as F
from torch import nn
from turns import in_turns, ratio, seconds_of

import nommer  # noqa: F401  registers the models
from nommer.acceleration.fuse import fuse
from nommer.acceleration.training import FASTER, accelerate

CLASSES = 100


def forms(network: nn.Module, mode: str) -> dict[str, nn.Module]:
    """Return copies of the network by the name of their form, the plain one first."""
    found = {"plain": network}
    for literal, faster in FASTER.items():
        found[faster.__name__] = copy.deepcopy(network)
        for module in found[faster.__name__].modules():
            if type(module) is literal:
                module.__class__ = faster
    found["all"] = accelerate(copy.deepcopy(network))
    if mode == "inference":
        found["fused"] = fuse(network)
    return found


def make_step(
    network: nn.Module, images: torch.Tensor, mode: str, precision: str
) -> Callable[[], None]:
    """Return a call to measure: a step of training with AdamW, or an inference."""
    context = partial(torch.autocast, "cpu", torch.bfloat16, enabled=precision == "bf16")
    labels = torch.arange(len(images)) % CLASSES
    optimizer = torch.optim.AdamW(network.train(mode == "training").parameters(), lr=1e-5)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        with context():
            scores = network(images)
        F.cross_entropy(scores.float(), labels).backward()
        optimizer.step()

    @torch.inference_mode()
    def infer() -> None:
        with context():
            network(images)

    return train if mode == "training" else infer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nommer_tiny")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--mode", choices=["training", "inference"], default="training")
    parser.add_argument("--precision", choices=["32", "bf16"], default="32")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = timm.create_model(
        options.model, num_classes=CLASSES, img_size=options.size, patch_size=options.stride
    )
    images = torch.randn(options.batch, 3, options.size, options.size)
    steps = {
        name: make_step(form, images, options.mode, options.precision)
        for name, form in forms(network, options.mode).items()
    }
    print("| form | ms | against plain (quartiles) |\n|---|---|---|")
    seconds = in_turns(
        {name: partial(seconds_of, step) for name, step in steps.items()}, options.rounds
    )
    for name, times in seconds.items():
        milliseconds = 1000 * statistics.median(times)
        shown = ratio(times, seconds["plain"], digits=3)
        print(f"| {name} | {milliseconds:.0f} | {shown} |")


if __name__ == "__main__":
    main()
