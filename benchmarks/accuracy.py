"""NomMer and networks of timm trained by one recipe: the same data, augmentation, steps and seeds; tables and plots.

    python benchmarks/tiny_imagenet_subset.py ../shared/data/tiny_imagenet_200 data/tiny_imagenet_20
    python benchmarks/accuracy.py small data/tiny_imagenet_20 runs/small --config tiny_imagenet_20 --seeds 0 1 2
    python benchmarks/accuracy.py large ../shared/data/tiny_imagenet_200 runs/large --config tiny_imagenet_200 --jobs 2
    python benchmarks/accuracy.py settings data/tiny_imagenet_20 runs/settings --config tiny_imagenet_20

What stands after -- goes to every `nommer train`: -- --device cuda --epochs 30. A run whose folder is finished is not
trained again, one that was stopped goes on. Of the runs that are finished, OUT/results.json gets all numbers,
OUT/table.md the table and OUT/accuracy.png the plots. Speed is measured alone, when no run is active.
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
from matplotlib.figure import Figure
from network_costs import giga_macs
from runs import Run, finish, say, spread
from torch import nn

import nommer
from nommer.engine.training.optim import Optim
from nommer.heads.networks import build_network, describe_network

SWIN = "--model timm:swin_tiny_patch4_window7_224 --network.timm"
SUITES: dict[str, dict[str, str]] = {
    "small": {
        "nommer_pico": "--model nommer_pico",
        "nommer_nano": "--model nommer_nano",
        "resnet10t": "--model timm:resnet10t --network.timm '{stem_stride: 2}'",
        "resnet18": "--model timm:resnet18 --network.timm '{stem_stride: 2}'",
        "convnext_atto": "--model timm:convnext_atto --network.timm '{stem_stride: 2}'",
        "deit_tiny, patch 8": "--model timm:deit_tiny_patch16_224 --network.timm '{img_size: 64, patch_size: 8}'",
        "swin, width 48": f"{SWIN} '{{img_size: 64, patch_size: 2, window_size: 8, embed_dim: 48, "
        "depths: [2, 2, 4, 2], num_heads: [2, 4, 8, 16], drop_path_rate: 0.0}'",
    },
    "large": {
        "nommer_nano": "--model nommer_nano",
        "nommer_tiny": "--model nommer_tiny",
        "swin_tiny": f"{SWIN} '{{img_size: 64, patch_size: 2, window_size: 8, drop_path_rate: 0.1}}'",
        "convnext_tiny": "--model timm:convnext_tiny --network.timm '{stem_stride: 2, drop_path_rate: 0.1}'",
        "resnet50": "--model timm:resnet50 --network.timm '{stem_stride: 2, drop_path_rate: 0.1}'",
    },
    "settings": {
        "as published": "",
        "position 0.02": "--network.position_scale 0.02",
        "temperature 1 to 0.1": "--network.temperature '[1, 0.1]'",
        "temperature 0.5": "--network.temperature '[0.5, 0.5]'",
        "temperature 2": "--network.temperature '[2, 2]'",
        "noise 1 to 0": "--network.noise '[1, 0]'",
        "no noise": "--network.noise '[0, 0]'",
        "drop path 0.1": "--network.drop_path_rate 0.1",
        "lr 5e-4": "--lr 5e-4",
        "lr 2e-3": "--lr 2e-3",
        "lr 4e-3": "--lr 4e-3",
        "window 4": "--network.window_size 4",
        "blocks 4, 4": "--network.block_sizes '[4, 4]'",
        "blocks 4, 2": "--network.block_sizes '[4, 2]'",
        "patch 4": "--network.patch_size 4",
        "average of tokens": "--network.global_pool avg",
        "softmax": "--network.fusion softmax",
    },
}
"""What is compared: a name, and what `nommer train` is told besides the recipe. Strides of the stages are 2, 4, 8, 16
everywhere (deit_tiny has 8 x 8 tokens throughout), so that the networks see an image at the same resolutions."""


def collect(runs: Sequence[Run]) -> list[dict]:
    """Per name what the finished runs have in common and each seed's numbers."""
    rows: dict[str, dict] = {}
    for run in runs:
        if not run.finished:
            continue
        found, settings = read_run(run.out, "."), yaml.safe_load((run.out / "config.yaml").read_text())
        started = json.loads((run.out / "environment.json").read_text())
        row = rows.setdefault(run.name, {"name": run.name, "arguments": shlex.join(run.arguments), "seeds": {}})
        row["image_size"], row["epochs"] = settings["image_size"], settings["epochs"]
        row["precision"], row["batch_size"] = settings["precision"], settings["batch_size"]
        row["environment"] = {name: started[name] for name in ("packages", "cuda", "platform")}
        row["training_images"] = sum(",train," in line for line in (run.out / "split.csv").read_text().splitlines())
        row["model"] = str(run.out)
        row["seeds"][run.seed] = {
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
        network = nommer.load(row["model"]).network
        with torch.device("meta"):
            row["giga_macs"] = giga_macs(build_network(describe_network(network)), row["image_size"])
        row["parameters"] = sum(parameter.numel() for parameter in network.parameters())


def measure(rows: list[dict], *, device: str, batch: int, rounds: int) -> None:
    """Add images per second, inferring and training, to every row."""
    for row in rows:
        model, size = nommer.load(row["model"]), row["image_size"]
        speed = {"device": device, "size": size, "batch": batch, "rounds": rounds, "half": row["precision"] == "bf16"}
        say(f"{row['name']}: measuring speed")
        row["inferred_per_second"] = images_per_second(inference(nommer.fuse(model).network.to(device)), **speed)
        classes = model.network.num_classes
        row["trained_per_second"] = images_per_second(training(model.network.to(device), classes), **speed)
        row["measured_on"] = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"


def inference(network: nn.Module) -> Callable[[torch.Tensor], object]:
    """A forward pass."""
    network.eval()
    return torch.inference_mode()(network.forward)


def training(network: nn.Module, classes: int) -> Callable[[torch.Tensor], object]:
    """A forward and a backward pass and a step of the optimiser."""
    network.train()
    optimizer = Optim().optimizer(network, 1e-5)

    def step(images: torch.Tensor) -> None:
        labels = torch.arange(len(images), device=images.device) % classes
        nn.functional.cross_entropy(network(images).float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def images_per_second(
    call: Callable[[torch.Tensor], object], *, device: str, size: int, batch: int, rounds: int, half: bool
) -> float:
    """Median over `rounds` batches, after three to warm up."""
    images, seconds = torch.randn(batch, 3, size, size, device=device), []
    for _ in range(rounds + 3):
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            call(images)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return batch / statistics.median(seconds[3:])


def as_table(rows: list[dict]) -> str:
    """The rows as Markdown, the best first."""
    lines = ["| network | parameters | GMACs | images/s, inference | images/s, training | top-1 | last epoch | top-5 |"]
    lines.append("|" + "---|" * 8)
    for row in sorted(rows, key=lambda row: -statistics.mean(seed["top1"] for seed in row["seeds"].values())):
        seeds = list(row["seeds"].values())
        best, last = spread([s["top1"] for s in seeds]), spread([s["curve"][-1] for s in seeds])
        top5 = spread([seed["top5"] for seed in seeds]) if seeds[0]["top5"] is not None else "n/a"
        costs = f"{row['parameters'] / 1e6:.2f} M | {row['giga_macs']:.2f}"
        speeds = [f"{row[name]:,.0f}" if name in row else "" for name in ("inferred_per_second", "trained_per_second")]
        lines.append(f"| {row['name']} ({len(seeds)}) | {costs} | {' | '.join(speeds)} | {best} | {last} | {top5} |")
    return "\n".join(lines) + "\n"


def describe(rows: list[dict]) -> str:
    """What the numbers of the table are of."""
    row = rows[0]
    packages = ", ".join(f"{name} {row['environment']['packages'][name]}" for name in ("nommer", "torch", "timm"))
    size, images, machine = row["image_size"], row["training_images"], row["environment"]["cuda"] or "CPU"
    return (
        f"{size} x {size}, {images:,} training images, {row['epochs']} epochs, batches of {row['batch_size']}, "
        f"{row['precision']}, {machine}, {packages}; in brackets the number of seeds; top-1 and top-5 of the best "
        f"epoch; speed {'on ' + row['measured_on'] if 'measured_on' in row else 'not measured'}."
    )


def draw(rows: list[dict], out: Path) -> None:
    """Accuracy against multiply-accumulates, against time of inference, and over the time of training."""
    figure = Figure(figsize=(15, 5), layout="constrained")
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
    costs = {
        "GMACs per image": lambda row: row["giga_macs"],
        "inference, ms per image": lambda row: 1000 / row["inferred_per_second"],
    }
    for row in rows:
        tops = [100 * seed["top1"] for seed in row["seeds"].values()]
        mean, deviation = statistics.mean(tops), statistics.stdev(tops) if len(tops) > 1 else 0.0
        peer = "timm:" in row["arguments"]
        style = {"marker": "s" if peer else "o", "color": f"C{rows.index(row) % 10}"}
        for panel, (label, cost) in zip(panels[:2], costs.items(), strict=True):
            panel.errorbar(cost(row), mean, yerr=deviation, capsize=3, **style)
            panel.annotate(row["name"], (cost(row), mean), xytext=(6, 4), textcoords="offset points", fontsize=8)
            panel.set(xlabel=label, ylabel="top-1 of the best epoch, %")
        curves = [seed["curve"] for seed in row["seeds"].values()]
        middle = [100 * statistics.mean(values) for values in zip(*curves, strict=False)]
        minutes = row["training_images"] / row["trained_per_second"] / 60
        times = [minutes * (epoch + 1) for epoch in range(len(middle))]
        panels[2].plot(times, middle, "--" if peer else "-", color=style["color"], label=row["name"])
    panels[2].set(xlabel="minutes of computing for training, at the measured speed", ylabel="validation top-1, %")
    panels[2].legend(fontsize=8)
    for panel in panels:
        panel.grid(visible=True, alpha=0.3)
        panel.set_xlim(0, 1.4 * panel.dataLim.xmax)  # names stand to the right of their points
    figure.savefig(out, dpi=110)


def main() -> None:
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=list(SUITES))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", required=True, help="recipe, or YAML file with the settings of every run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", help="names of the suite")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--minutes", type=float, help="stop after; another call goes on")
    parser.add_argument("--speed-device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--speed-batch", type=int, default=256 if torch.cuda.is_available() else 16)
    parser.add_argument("--speed-rounds", type=int, default=10, help="0 measures no speed, and draws nothing")
    told = parser.parse_args(arguments[:cut])
    common, suite = ["--data", str(told.data), "--config", told.config], SUITES[told.suite]
    if unknown := set(told.only or ()) - suite.keys():
        parser.error(f"--only: not in {told.suite}: {', '.join(sorted(unknown))}; there are {', '.join(suite)}")
    runs = [
        Run(name, seed, told.out, (*common, *shlex.split(suite[name]), *arguments[cut + 1 :]))
        for seed in told.seeds
        for name in told.only or suite
    ]
    left = finish(runs, jobs=told.jobs, minutes=told.minutes)
    rows = collect(runs)
    count(rows)
    if rows and told.speed_rounds:
        measure(rows, device=told.speed_device, batch=told.speed_batch, rounds=told.speed_rounds)
        draw(rows, told.out / "accuracy.png")
    if rows:
        (told.out / "results.json").write_text(json.dumps(rows, indent=1))
        (told.out / "table.md").write_text(f"{describe(rows)}\n\n{as_table(rows)}")
        print((told.out / "table.md").read_text(), end="")
    if left:
        sys.exit(f"not finished: {', '.join(run.out.name for run in left)}")


if __name__ == "__main__":
    main()
