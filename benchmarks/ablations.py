"""Train ablations of the network by one command on the same data, seed and steps; print a table.

    python benchmarks/tiny_imagenet_subset.py ../shared/data/tiny_imagenet_200 data/tiny_imagenet_20
    python benchmarks/ablations.py data/tiny_imagenet_20 runs/ablations --epochs 20 --seeds 0 1 2

A run whose folder is finished is not trained again, one that was stopped goes on. Their folders are
OUT/NAME-SEED.
"""

import argparse
import json
import statistics
import sys

from network_costs import ABLATIONS, costs
from runs import AS_PUBLISHED, Run, finish, parse, spread

LESS_NOISE = "less noise, light balance"
"""The row with the defaults of our own variants; all others nominate as published."""
KINDS = {LESS_NOISE: {}, **ABLATIONS}
CHOSEN = ("as published", "softmax", "sum", "convolution", "window", "global", "average pooling")


def runs_of(name: str, arguments: argparse.Namespace, more: list[str]) -> list[Run]:
    """Return one ablation's trainings, one per seed."""
    told = [
        "--data",
        str(arguments.data),
        "--model",
        arguments.model,
        "--epochs",
        str(arguments.epochs),
    ]
    told += ["--batch-size", str(arguments.batch_size), "--lr", str(arguments.lr), "--workers", "1"]
    told += ["--image-size", str(arguments.image_size)] if arguments.image_size else []
    told += () if name == LESS_NOISE else AS_PUBLISHED.split()
    for option, value in KINDS[name].items():
        told += [f"--network.{option}", json.dumps(value) if isinstance(value, list) else value]
    return [Run(name, seed, arguments.out, (*told, *more)) for seed in arguments.seeds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nommer_pico")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=CHOSEN)
    arguments, more = parse(parser)
    runs = {name: runs_of(name, arguments, more) for name in arguments.only}
    every = [run for of_name in runs.values() for run in of_name]
    if left := finish(every, jobs=arguments.jobs, minutes=arguments.minutes):
        sys.exit(f"not finished: {', '.join(run.out.name for run in left)}")
    table = []
    for name, of_name in runs.items():
        found = [json.loads((run.out / "result.json").read_text()) for run in of_name]
        parameters, head, macs = costs(arguments.model, **KINDS[name])
        top1, loss = (
            spread([one["top1"] for one in found]),
            statistics.mean(one["loss"] for one in found),
        )
        table.append(
            f"| {name} | {(parameters - head) / 1e6:.2f} M | {macs:.2f} | {top1} | {loss:.3f} |"
        )
    print(
        f"{arguments.model}, {arguments.epochs} epochs, seeds "
        f"{', '.join(map(str, arguments.seeds))}\n"
    )
    print(
        "| network | parameters without classifier | GMACs at 224 | top-1 | loss "
        "|\n|---|---|---|---|---|"
    )
    print("\n".join(table))


if __name__ == "__main__":
    main()
