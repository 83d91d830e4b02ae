"""Ablations of the network, each trained by the same command on the same data, seed and steps, as a Markdown table.

    python benchmarks/tiny_imagenet_subset.py ../shared/data/tiny_imagenet_200 data/tiny_imagenet_20
    python benchmarks/ablations.py data/tiny_imagenet_20 runs/ablations --epochs 20 --seeds 0 1 2

A run whose folder is finished is not trained again, one that was stopped goes on. Their folders are OUT/NAME-SEED.
"""

import argparse
import json
import statistics
from pathlib import Path

from network_costs import ABLATIONS, costs

import nommer
from nommer.engine.network_options import NetworkOptions

CHOSEN = ("as published", "softmax", "sum", "convolution", "window", "global", "average pooling")


def train(name: str, seed: int, arguments: argparse.Namespace) -> dict:
    """The last judgement of one ablation, trained first where it is not yet."""
    out = arguments.out / f"{name.replace(', ', '-').replace(' ', '_')}-{seed}"
    if not (out / "result.json").is_file():
        stopped = (out / "checkpoints" / "last.ckpt").is_file()
        options = {key: tuple(value) if isinstance(value, list) else value for key, value in ABLATIONS[name].items()}
        nommer.train(
            arguments.data,
            model=arguments.model,
            out=out,
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            image_size=arguments.image_size,
            lr=arguments.lr,
            seed=seed,
            workers=1,
            resume=stopped,
            overwrite=not stopped,
            network=NetworkOptions(**options),
        )
    return json.loads((out / "result.json").read_text())


def spread(values: list[float]) -> str:
    """Mean and, of several, their standard deviation, in percent."""
    mean = f"{statistics.mean(values):.1%}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="nommer_pico")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=list(ABLATIONS), default=CHOSEN)
    arguments = parser.parse_args()
    table = []
    for name in arguments.only:
        found = [train(name, seed, arguments) for seed in arguments.seeds]
        parameters, head, macs = costs(arguments.model, **ABLATIONS[name])
        top1, loss = spread([one["top1"] for one in found]), statistics.mean(one["loss"] for one in found)
        table.append(f"| {name} | {(parameters - head) / 1e6:.2f} M | {macs:.2f} | {top1} | {loss:.3f} |")
    print(f"{arguments.model}, {arguments.epochs} epochs, seeds {', '.join(map(str, arguments.seeds))}\n")
    print("| network | parameters without classifier | GMACs at 224 | top-1 | loss |\n|---|---|---|---|---|")
    print("\n".join(table))


if __name__ == "__main__":
    main()
