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
from compare_runs import read_run
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from network_costs import giga_macs
from runs import Run, finish, parse, say, spread
from suites import SUITES
from torch import nn

import nommer
from nommer import zoo
from nommer.models.networks import build_network
from nommer.settings.optim import Optim
from nommer.tasks.optimiser import build_optimizer

TAUGHT = ", taught"
"""Behind the name of a network that had a teacher."""


def collect(runs: Sequence[Run]) -> list[dict]:
    """Per name what the finished runs have in common and each seed's numbers."""
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
    """A forward pass."""
    network.eval()
    return torch.inference_mode()(network.forward)


def training(network: nn.Module, classes: int) -> Callable[[torch.Tensor], object]:
    """A forward and a backward pass and a step of the optimiser."""
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
    """Median over `rounds` batches, after three to warm up."""
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


def as_table(rows: list[dict]) -> str:
    """The rows as Markdown, the best first."""
    taught = {row["name"].removesuffix(TAUGHT): row for row in rows if is_taught(row)}
    lines = [
        "| network | parameters | GMACs | images/s, inference | images/s, training | top-1 | last "
        "epoch | top-5 |" + (" top-1 with the teacher |" if taught else "")
    ]
    lines.append("|" + "---|" * (9 if taught else 8))
    plain = [row for row in rows if not is_taught(row)]
    for row in sorted(plain, key=lambda row: -statistics.mean(tops(row))):
        seeds = list(row["seeds"].values())
        best, last = spread([s["top1"] for s in seeds]), spread([s["curve"][-1] for s in seeds])
        top5 = spread([seed["top5"] for seed in seeds]) if seeds[0]["top5"] is not None else "n/a"
        costs = f"{row['parameters'] / 1e6:.2f} M | {row['giga_macs']:.2f}"
        speeds = [
            f"{row[name]:,.0f}" if name in row else ""
            for name in ("inferred_per_second", "trained_per_second")
        ]
        line = (
            f"| {row['name']} ({len(seeds)}) | {costs} | {' | '.join(speeds)} | {best} | {last} | "
            f"{top5} |"
        )
        if taught:
            other = tops(taught[row["name"]]) if row["name"] in taught else []
            line += f" {spread(other)} ({len(other)}) |" if other else "  |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def is_taught(row: dict) -> bool:
    """True for a network that had a teacher."""
    return row["name"].endswith(TAUGHT)


def tops(row: dict) -> list[float]:
    """The top-1 of every seed."""
    return [seed["top1"] for seed in row["seeds"].values()]


def with_and_without(told: argparse.Namespace) -> dict[str, list[str]]:
    """What is added to a name, and the options that go with it."""
    if told.teacher is None:
        return {"": []}
    return {"": [], TAUGHT: ["--teacher", *shlex.split(told.teacher)]}


def describe(rows: list[dict]) -> str:
    """Origin of the numbers of the table."""
    row = rows[0]
    steps = round(row["steps"] / row["epochs"])
    packages = ", ".join(
        f"{name} {row['environment']['packages'][name]}" for name in ("nommer", "torch", "timm")
    )
    size = row["image_size"]
    return (
        f"{size} x {size}, {row['epochs']} epochs of {steps} steps of {row['batch_size']} images, "
        f"{row['precision']}, "
        f"{machines(rows)}, {packages}; in brackets the number of seeds; top-1 and top-5 of the "
        "best epoch; speed "
        f"{'on ' + row['measured_on'] if 'measured_on' in row else 'not measured'}."
    )


def machines(rows: list[dict]) -> str:
    """Where the runs were trained."""
    return " and ".join(
        dict.fromkeys(seed["machine"] for row in rows for seed in row["seeds"].values())
    )


def draw(rows: list[dict], out: Path) -> None:
    """Accuracy against multiply-accumulates, against time of inference, and over the time of
    training.

    NomMers are stars and whole lines, other networks squares and broken lines; bars are standard
    deviations over seeds.
    """
    figure = Figure(figsize=(16, 5.4), layout="constrained")
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
    places: list[dict[str, tuple[float, float]]] = [{}, {}]
    for number, row in enumerate(rows):
        seeds, ours = list(row["seeds"].values()), "timm:" not in row["arguments"]
        style = {
            "color": f"C{number % 10}",
            "marker": "*" if ours else "s",
            "markersize": 15 if ours else 6,
        }
        tops = [100 * seed["top1"] for seed in seeds]
        best, deviation = statistics.mean(tops), statistics.stdev(tops) if len(tops) > 1 else None
        costs = row["giga_macs"], 1000 / row["inferred_per_second"]
        for panel, cost, of_panel in zip(panels[:2], costs, places, strict=True):
            panel.errorbar(cost, best, yerr=deviation, capsize=4, **style)
            of_panel[row["name"]] = (cost, best)
        curve = [
            100 * statistics.mean(values)
            for values in zip(*(seed["curve"] for seed in seeds), strict=False)
        ]
        epoch = row["steps"] * row["batch_size"] / row["epochs"] / row["trained_per_second"] / 60
        minutes = [epoch * (number + 1) for number in range(len(curve))]
        line = {
            "linestyle": "-" if ours else "--",
            "linewidth": 2.5 if ours else 1.2,
            "markevery": [-1],
        }
        panels[2].plot(minutes, curve, label=row["name"], **line, **style)
    for panel, label, of_panel in zip(
        panels, ("GMACs per image", "inference, ms per image"), places, strict=False
    ):
        panel.set(xlabel=label, ylabel="top-1 of the best epoch, %")
        panel.margins(y=0.1)
        panel.set_xlim(
            0, 1.45 * max(x for x, _ in of_panel.values())
        )  # names stand to the right of their points
        write_names(panel, of_panel)
    panels[2].set(
        xlabel="minutes of training, validation left out", ylabel="top-1, %", xlim=(0, None)
    )
    panels[2].legend(loc="lower right")
    for panel in panels:
        panel.grid(visible=True, alpha=0.3)
    trained = f"{rows[0]['precision']} on {machines(rows)}"
    figure.suptitle(
        f"trained in {trained}; times are those of {rows[0]['measured_on']}", fontsize=10
    )
    figure.savefig(out, dpi=110)


def write_names(panel: Axes, places: dict[str, tuple[float, float]]) -> None:
    """Write a name beside each point, higher than it where it would lie on the name of another."""
    width, (low, high) = panel.get_xlim()[1], panel.get_ylim()
    written: list[tuple[float, float]] = []
    for name, (x, y) in sorted(places.items(), key=lambda item: item[1][1]):
        height, gap = y, 0.045 * (high - low)
        while any(
            abs(x - left) < 0.35 * width and abs(height - above) < gap for left, above in written
        ):
            height += gap / 4
        written.append((x, height))
        color, weight = (
            f"C{list(places).index(name) % 10}",
            "bold" if name.startswith("nommer") else "normal",
        )
        line = {"arrowstyle": "-", "color": color, "alpha": 0.4}
        where = {"xy": (x, y), "xytext": (x + 0.035 * width, height), "va": "center"}
        panel.annotate(name, **where, color=color, fontsize=9, fontweight=weight, arrowprops=line)


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
