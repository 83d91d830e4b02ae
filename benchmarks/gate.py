"""Distil small gates from a model's nominators, and tell what deciding first would save.

    python benchmarks/gate.py runs/gate --cache data/tiny_imagenet_cache
    python benchmarks/gate.py runs/gate_64 --model nommer_nano64 --size 64
    python benchmarks/gate.py runs/gate_tiny --model nommer_tiny --size 224 --batches 1

A nominator sees all three contexts and then drops two of them. A gate sees the block's input and
says first which will be needed, so that the others need not be computed (`gated_mixer.py`). With
`--cache`, which `teacher_cache.py` wrote, gates learn from the frozen network's nominations on
training images, and are judged on validation images beside the network itself: agreement, accuracy
with the same images resampled, shares of what is computed, GMACs, time. An offset is added to the
convolution's score, so that fewer windows are needed. Without `--cache` the network is untrained
and its nominations are given: how much of the windows and squares may be needed before deciding
first costs more than it saves.

Times are seconds of the process, one thread, forms in turns; ratios are medians of those within a
round. The fused network computes all contexts. Into the folder goes result.json, which is printed.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gated_mixer import Gate, GatedContext, Given, gated, shifted
from small_batches import prepared
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import nommer
from nommer.acceleration.fuse import fuse
from nommer.backbone.config import CONTEXTS
from nommer.backbone.network import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.files import write_json
from nommer.intervals import mean_with_interval
from nommer.nominations.intervention import intervene
from nommer.pruning.surgery import mixers_of

BATCH, EVALUATION_BATCH, COUNTED = 64, 100, 16
OFFSETS = (0.0, 1.0, 2.0)
NEVER = 2.0
"""A share of the parts that is never reached: nothing is computed whole."""
GIVEN = {
    "convolution everywhere": (0.0, 0.0),
    "a quarter of the windows, else convolution": (0.25, 0.0),
    "half of the windows, else convolution": (0.5, 0.0),
    "three quarters of the windows, else convolution": (0.75, 0.0),
    "all of the windows": (1.0, 0.0),
    "a third of the places each context": (1 / 3, 1 / 3),
}
"""Parts of the places of a window's size that nominate the window and the global context."""
SCATTERED = "a third of the tokens each context, scattered"


class Watched:
    """The inputs and the nominations of every nominator block, while a network works."""

    def __init__(self, network: NomMer) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.chosen: dict[str, Tensor] = {}
        for name, mixer in mixers_of(network).items():
            mixer.register_forward_pre_hook(self._keep(self.inputs, name, lambda x: x))
            nomination = mixer.nominator.nomination
            nomination.register_forward_pre_hook(
                self._keep(self.chosen, name, lambda x: x.argmax(-1))
            )

    @staticmethod
    def _keep(where: dict[str, Tensor], name: str, how: Callable[[Tensor], Tensor]) -> Any:
        def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            where[name] = how(given[0])

        return keep


def images_of(folder: Path, count: int, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield drawn images of a part of the cache, with labels."""
    labels, pixels = np.load(folder / "labels.npy"), np.load(folder / "images.npy", mmap_mode="r")
    order = np.random.default_rng(seed).permutation(len(labels))[:count]
    for begin in range(0, len(order), batch):
        chosen = order[begin : begin + batch]
        images = prepared(torch.from_numpy(pixels[chosen]))
        yield (
            images.contiguous(memory_format=torch.channels_last),
            torch.from_numpy(labels[chosen]),
        )


def distil(network: NomMer, folder: Path, told: argparse.Namespace) -> dict[str, Gate]:
    """Teach a gate per block the nominations of the frozen network, by cross-entropy."""
    torch.manual_seed(told.seed)
    network = copy.deepcopy(network)
    watched, widths = Watched(network), network.config.widths
    gates = {name: Gate(widths[int(name.split()[1]) - 1]) for name in mixers_of(network)}
    weights = [weight for gate in gates.values() for weight in gate.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=told.lr, weight_decay=0.01)
    steps = -(-told.images // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, told.lr, steps)
    for images, _ in images_of(folder, told.images, BATCH, told.seed):
        with torch.no_grad():
            network(images.flip(3) if torch.rand(()) < 0.5 else images)
        losses = [
            F.cross_entropy(
                gate(watched.inputs[name]).flatten(0, 2), watched.chosen[name].flatten()
            )
            for name, gate in gates.items()
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()
    return gates


def right(network: Callable[[Tensor], Tensor], batches: Sequence[Any]) -> np.ndarray:
    """Return 1 for every image that is answered rightly, else 0."""
    with torch.inference_mode():
        found = [network(images).argmax(1) == labels for images, labels in batches]
    return torch.cat(found).float().numpy()


@torch.inference_mode()
def agreement(
    network: NomMer, gates: dict[str, Gate], batches: Sequence[Any]
) -> dict[str, dict[str, float]]:
    """Return, per block, how often gate and nominator agree, and what always the same would."""
    network = copy.deepcopy(network)
    watched = Watched(network)
    agreed = dict.fromkeys(gates, 0)
    counts = {name: torch.zeros(len(CONTEXTS)) for name in gates}
    for images, _ in batches:
        network(images)
        for name, gate in gates.items():
            chosen = watched.chosen[name]
            agreed[name] += int((gate(watched.inputs[name]).argmax(-1) == chosen).sum())
            counts[name] += torch.bincount(chosen.flatten(), minlength=len(CONTEXTS))
    return {
        name: {
            "agreement": agreed[name] / counts[name].sum().item(),
            "most nominated": (counts[name].max() / counts[name].sum()).item(),
        }
        for name in gates
    }


def giga_macs(network: nn.Module, images: Tensor) -> float:
    """Count the multiply-accumulates of an image, of those that are really done for these."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(images)
    return counter.get_total_flops() / 2e9 / len(images)


def computed(network: NomMer, batches: Sequence[Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """Return what `right` does, and the share of the parts that was computed, per block."""
    mixers = [module for module in network.modules() if isinstance(module, GatedContext)]
    for mixer in mixers:
        mixer.count()
    found = right(network, batches)
    shares = {name: mixer.shares() for name, mixer in zip(mixers_of(network), mixers, strict=True)}
    for mixer in mixers:
        mixer.count(False)
    return found, shares


def judge(network: NomMer, gates: dict[str, Gate], told: argparse.Namespace) -> dict[str, Any]:
    """Judge gates of every offset beside the network that they learned from."""
    batches = list(images_of(told.cache / "val", told.judged, EVALUATION_BATCH, told.seed))
    first = batches[0][0][:COUNTED]
    as_it_is = right(network, batches)
    with intervene(network, "convolution"):
        forced = right(network, batches)
    found: dict[str, Any] = {
        "images": len(as_it_is),
        "agreement": agreement(network, gates, batches),
        "network": {
            "top1": mean_with_interval(as_it_is, seed=0),
            "giga_macs": giga_macs(network, first),
        },
        "convolution": {"change": mean_with_interval(forced - as_it_is, seed=0)},
        "gated": {},
    }
    forms = {}
    for offset in OFFSETS:
        shifted_gates: dict[str, nn.Module] = {n: shifted(g, offset) for n, g in gates.items()}
        forms[offset] = gated(network, shifted_gates, told.dense_from)
        hits, shares = computed(forms[offset], batches)
        found["gated"][offset] = {
            "top1": mean_with_interval(hits, seed=0),
            "change": mean_with_interval(hits - as_it_is, seed=0),
            "giga_macs": giga_macs(forms[offset], first),
            "shares": shares,
        }
    whole = torch.cat([images for images, _ in batches[:1]])
    for batch in told.batches:
        inputs = whole[: len(whole) // batch * batch].split(batch)
        found[f"times, batch {batch}"] = ratios({"network": network} | forms, inputs, told.rounds)
    return found


def ratios(
    forms: dict[Any, NomMer], inputs: Sequence[Tensor], rounds: int
) -> dict[str, dict[str, float]]:
    """Return milliseconds, and how many times as fast as the first form (median, quartiles)."""
    seconds: dict[Any, list[float]] = {name: [] for name in forms}
    with torch.inference_mode():
        for number in range(rounds + 2):
            for name, network in forms.items():
                images = inputs[number % len(inputs)]
                start = time.process_time()
                network(images)
                seconds[name].append(time.process_time() - start)
    first = next(iter(forms))
    found = {}
    for name, times in seconds.items():
        each = [one / other for one, other in zip(seconds[first], times, strict=True)][2:]
        low, middle, high = statistics.quantiles(each, n=4, method="inclusive")
        found[str(name)] = {
            "ms": 1000 * statistics.median(times[2:]), "times as fast": middle,
            "low": low, "high": high,
        }  # fmt: skip
    return found


def break_even(network: NomMer, told: argparse.Namespace) -> dict[str, Any]:
    """Time and count the network with given nominations."""
    window = network.config.window_size
    names = list(mixers_of(network))
    cases = {name: (window, *shares) for name, shares in GIVEN.items()}
    cases[SCATTERED] = (1, 1 / 3, 1 / 3)
    forms = {"network": network} | {
        name: gated(network, dict.fromkeys(names, Given(*case)), NEVER)
        for name, case in cases.items()
    }
    torch.manual_seed(told.seed)
    found: dict[str, Any] = {}
    for batch in told.batches:
        images = torch.randn(batch, 3, told.size, told.size)
        images = images.contiguous(memory_format=torch.channels_last)
        rows = ratios(forms, [images], told.rounds)
        for name, row in rows.items():
            row["giga_macs"] = giga_macs(forms[name], images)
        found[f"given, batch {batch}"] = rows
    return found


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("out", type=Path)
    made.add_argument("--cache", type=Path, help="distil and judge on these images of 64 pixels")
    made.add_argument("--model", default="nommer_nano64.tiny_imagenet_200_balanced")
    made.add_argument("--size", type=int, default=64, help="pixels, without --cache")
    made.add_argument("--images", type=int, default=10000, help="that gates learn from")
    made.add_argument("--judged", type=int, default=3000, help="validation images")
    made.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    made.add_argument("--rounds", type=int, default=31)
    made.add_argument("--lr", type=float, default=1e-2)
    made.add_argument("--dense-from", type=float, default=0.75, help="share computed whole")
    made.add_argument("--seed", type=int, default=0)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    told = parser().parse_args(arguments)
    torch.set_num_threads(1)
    told.out.mkdir(parents=True, exist_ok=True)
    if told.cache is None:
        torch.manual_seed(told.seed)
        config = replace(VARIANTS[told.model], num_classes=1000, img_size=told.size)
        found = break_even(fuse(NomMer(config)), told)
    else:
        network = fuse(nommer.load(told.model).backbone)
        gates = distil(network, told.cache / "train", told)
        found = judge(network, gates, told)
    settings = {
        name: str(one) if isinstance(one, Path) else one for name, one in vars(told).items()
    }
    write_json(told.out / "result.json", settings | found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
