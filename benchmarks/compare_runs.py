"""Two or more runs on the same data side by side: validation curves, and numbers and IoU per class of an evaluation.

    python benchmarks/compare_runs.py runs/camvid runs/camvid_peer --evaluation evaluate --out docs/images/camvid.png

Every run is a folder of `nommer train`, with the folder of `nommer evaluate` in it that --evaluation names.
"""

import argparse
import csv
import json
from pathlib import Path

import yaml
from matplotlib.figure import Figure


def read_run(run: Path, evaluation: str) -> dict:
    """The settings, the curve and the evaluation of one run."""
    with (run / "metrics.csv").open(newline="") as stream:
        curve = list(csv.DictReader(stream))
    with (run / evaluation / "per_class.csv").open(newline="") as stream:
        per_class = {row["class"]: float(row["iou"] or "nan") for row in csv.DictReader(stream)}
    settings = yaml.safe_load((run / "config.yaml").read_text())
    result = json.loads((run / evaluation / "result.json").read_text())
    return {"name": settings["model"], "curve": curve, "per_class": per_class, "result": result}


def draw(runs: list[dict], out: Path) -> None:
    """Validation mIoU over the steps, and the IoU of every class as bars side by side."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    curves, bars = figure.subplots(1, 2, width_ratios=(2, 3))
    width = 0.8 / len(runs)
    for number, run in enumerate(runs):
        steps = [int(row["step"]) for row in run["curve"]]
        curves.plot(steps, [float(row["val_miou"]) for row in run["curve"]], marker=".", label=run["name"])
        positions = [index + (number - (len(runs) - 1) / 2) * width for index in range(len(run["per_class"]))]
        bars.bar(positions, list(run["per_class"].values()), width, label=f"{run['name']}, {run['result']['miou']:.1%}")
    curves.set(xlabel="step", ylabel="validation mIoU", ylim=0, title="validation")
    bars.set_xticks(range(len(runs[0]["per_class"])), runs[0]["per_class"], rotation=45, ha="right")
    bars.set(ylabel="IoU", title=f"{runs[0]['result']['split']}, mIoU in the legend")
    for axes in (curves, bars):
        axes.grid(visible=True, axis="y", alpha=0.3)
        axes.legend()
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--evaluation", default="evaluate")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    runs = [read_run(run, arguments.evaluation) for run in arguments.runs]
    draw(runs, arguments.out)
    numbers = ("miou", "mean_accuracy", "pixel_accuracy", "loss")
    print("| model | " + " | ".join(numbers) + " |\n|" + "---|" * (1 + len(numbers)))
    for run in runs:
        print(f"| {run['name']} | " + " | ".join(f"{run['result'][name]:.4f}" for name in numbers) + " |")


if __name__ == "__main__":
    main()
