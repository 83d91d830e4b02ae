"""Train NomMer and networks of timm by one recipe: the same data, augmentation, steps and seeds.

Tables and plots are written.

    python benchmarks/tiny_imagenet_subset.py ../shared/data/tiny_imagenet_200 data/tiny_imagenet_20
    python benchmarks/accuracy.py small data/tiny_imagenet_20 runs/small \\
        --config tiny_imagenet_20 --seeds 0 1 2
    python benchmarks/accuracy.py large ../shared/data/tiny_imagenet_200 runs/large \\
        --config tiny_imagenet_200 --jobs 2
    python benchmarks/accuracy.py stride_4 data/tiny_imagenet_20 runs/stride_4 \\
        --config tiny_imagenet_20 -- --epochs 24
    python benchmarks/accuracy.py settings data/tiny_imagenet_20 runs/settings \\
        --config tiny_imagenet_20

    python benchmarks/accuracy.py stride_4 data/tiny_imagenet_20 runs/taught \\
        --config tiny_imagenet_20 --seeds 0 1 2 --teacher "timm:efficientnet_lite0 \\
        --distillation.weights data/lite0/model.safetensors --distillation.image-size 128"

With --teacher every network is trained twice, without and with it, and the table has a column more;
what stands behind the teacher's name are options of the runs that have it.

What stands after -- goes to every `nommer train`: -- --device cuda --epochs 30. A run whose folder
is finished is not trained again, one that was stopped goes on; --jobs 0 trains nothing. Of the runs
that are finished, OUT/results.json gets all numbers, OUT/table.md the table and OUT/accuracy.png
the plots. Speed is measured when no run is active, on --speed-device, which need not be where the
runs were trained: of a run, its architecture is enough.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import yaml
from accuracy_report import TAUGHT, as_table, describe, draw, is_taught
from compare_runs import read_run
from network_costs import giga_macs
from runs import Run, finish, parse, say
from suites import SUITES
from torch import nn

import nommer
from nommer import zoo
from nommer.models.networks import build_network
from nommer.settings.optim import Optim
from nommer.tasks.optimiser import build_optimizer


def collect(runs: Sequence[Run]) -> list[dict]:
    """Return per name what the finished runs have in common and each seed's numbers."""
    rows: dict[str, dict] = {}
    for run in runs:
        if not run.finished:
            continue
        found, settings = (
            read_run(run.out, "."),
            yaml.safe_load((run.out / "config.yaml").read_text()),
        )
        started = json.loads((run.out / "environment.json").read_text())
        row = rows.setdefault(
            run.name, {"name": run.name, "arguments": shlex.join(run.arguments), "seeds": {}}
        )
        row["image_size"], row["epochs"] = settings["image_size"], settings["epochs"]
        row["precision"], row["batch_size"] = settings["precision"], settings["batch_size"]
        row["environment"] = {name: started[name] for name in ("packages", "cuda", "platform")}
        row["steps"] = int(found["curve"][-1]["step"])
        row["architecture"] = json.loads((run.out / "model" / zoo.DESCRIPTION).read_text())[
            "architecture"
        ]
        row["seeds"][run.seed] = {
            "machine": started["cuda"] or "CPU",
            "top1": found["result"]["top1"],
            "top5": found["result"]["top5"],
            "loss": found["result"]["loss"],
            "best_epoch": found["result"]["epoch"],
            "seconds": sum(float(line["seconds"]) for line in found["curve"]),
            "curve": [float(line["val_top1"]) for line in found["curve"]],
        }
    return list(rows.values())


def count(rows: list[dict]) -> None:
    """Add parameters and multiply-accumulates to every row."""
    for row in rows:
        with torch.device("meta"):
            network = build_network(row["architecture"])
            row["giga_macs"] = giga_macs(network, row["image_size"])
        row["parameters"] = sum(parameter.numel() for parameter in network.parameters())


def measure(rows: list[dict], *, device: str, batch: int, rounds: int) -> None:
    """Add images per second, inferring and training, to every row; weights do not matter to them.

    On a CPU it is one thread's own time, so that other work on the machine counts for little.
    """
    torch.set_num_threads(1)
    for row in rows:
        half = device == "cuda" and row["precision"] == "bf16"
        speed = {
            "device": device,
            "size": row["image_size"],
            "batch": batch,
            "rounds": rounds,
            "half": half,
        }
        say(f"{row['name']}: measuring speed")
        network = build_network(row["architecture"])
        row["inferred_per_second"] = images_per_second(
            inference(nommer.fuse(network).to(device)), **speed
        )
        step = training(network.to(device), network.num_classes)
        row["trained_per_second"] = images_per_second(step, **speed)
        machine = torch.cuda.get_device_name() if device == "cuda" else "one CPU core"
        row["measured_on"] = f"{machine}, {'bf16' if half else 'float32'}, batches of {batch}"


def remember(rows: list[dict], written: Path) -> None:
    """Take over the speeds that an earlier call has measured."""
    before = (
        {row["name"]: row for row in json.loads(written.read_text())} if written.is_file() else {}
    )
    for row in rows:
        for name in ("inferred_per_second", "trained_per_second", "measured_on"):
            if name in before.get(row["name"], {}):
                row[name] = before[row["name"]][name]


def inference(network: nn.Module) -> Callable[[torch.Tensor], object]:
    """Return a forward pass."""
    network.eval()
    return torch.inference_mode()(network.forward)


def training(network: nn.Module, classes: int) -> Callable[[torch.Tensor], object]:
    """Return a forward and a backward pass and a step of the optimiser."""
    network.train()
    optimizer = build_optimizer(Optim(), network, 1e-5)

    def step(images: torch.Tensor) -> None:
        labels = torch.arange(len(images), device=images.device) % classes
        nn.functional.cross_entropy(network(images).float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def images_per_second(
    call: Callable[[torch.Tensor], object],
    *,
    device: str,
    size: int,
    batch: int,
    rounds: int,
    half: bool,
) -> float:
    """Return the median over `rounds` batches, after three to warm up."""
    images, seconds = torch.randn(batch, 3, size, size, device=device), []
    clock = time.perf_counter if device == "cuda" else time.process_time
    for _ in range(rounds + 3):
        start = clock()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            call(images)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - start)
    return batch / statistics.median(seconds[3:])


def with_and_without(told: argparse.Namespace) -> dict[str, list[str]]:
    """Return the endings that names get, each with its options."""
    if told.teacher is None:
        return {"": []}
    return {"": [], TAUGHT: ["--teacher", *shlex.split(told.teacher)]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", choices=list(SUITES))
    parser.add_argument(
        "--config", required=True, help="recipe, or YAML file with the settings of every run"
    )
    parser.add_argument("--only", nargs="+", help="names of the suite")
    parser.add_argument(
        "--teacher", help="train every network with it too; options of its own stand behind it"
    )
    parser.add_argument("--speed-device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--speed-batch", type=int, default=256 if torch.cuda.is_available() else 16)
    parser.add_argument(
        "--speed-rounds", type=int, default=10, help="0: take those of an earlier call, if any"
    )
    told, more = parse(parser)
    common, suite = ["--data", str(told.data), "--config", told.config], SUITES[told.suite]
    if unknown := set(told.only or ()) - suite.keys():
        parser.error(
            f"--only: not in {told.suite}: {', '.join(sorted(unknown))}; there are "
            f"{', '.join(suite)}"
        )
    runs = [
        Run(name + added, seed, told.out, (*common, *shlex.split(suite[name]), *options, *more))
        for seed in told.seeds
        for name in told.only or suite
        for added, options in with_and_without(told).items()
    ]
    left = finish(runs, jobs=told.jobs, minutes=told.minutes)
    everything = collect(runs)
    rows = [row for row in everything if not is_taught(row)]
    count(rows)
    if told.speed_rounds:
        measure(rows, device=told.speed_device, batch=told.speed_batch, rounds=told.speed_rounds)
    else:
        remember(rows, told.out / "results.json")
    if rows:
        if all("trained_per_second" in row for row in rows):
            draw(rows, told.out / "accuracy.png")
        taught = [row for row in everything if is_taught(row)]
        (told.out / "results.json").write_text(json.dumps([*rows, *taught], indent=1))
        (told.out / "table.md").write_text(f"{describe(rows)}\n\n{as_table([*rows, *taught])}")
        print((told.out / "table.md").read_text(), end="")
    if left:
        sys.exit(f"not finished: {', '.join(run.out.name for run in left)}")


if __name__ == "__main__":
    main()
