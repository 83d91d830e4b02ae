"""Show two or more runs on the same data side by side.

Validation curves are drawn, and numbers of an evaluation as bars and a table.

    python benchmarks/compare_runs.py runs/camvid runs/camvid_peer --evaluation evaluate --out
    docs/images/camvid.png

Every run is a folder of `nommer train`, with the folder of `nommer evaluate` in it that
--evaluation names ("." for the training's own last evaluation). The task is told from the run:
segmentation is compared by the IoU of every class, detection by its average precisions, overall and
of every class.
"""

import argparse
import csv
import json
from pathlib import Path

import yaml
from matplotlib.figure import Figure

SEGMENTATION = ("miou", "mean_accuracy", "pixel_accuracy", "loss")
DETECTION = ("box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50", "mask_ap75")


def read_run(run: Path, evaluation: str) -> dict:
    """Return the settings, the curve and the evaluation of one run."""
    with (run / "metrics.csv").open(newline="") as stream:
        curve = list(csv.DictReader(stream))
    with (run / evaluation / "per_class.csv").open(newline="") as stream:
        per_class = list(csv.DictReader(stream))
    settings = yaml.safe_load((run / "config.yaml").read_text())
    result = json.loads((run / evaluation / "result.json").read_text())
    return {"name": settings["model"], "curve": curve, "per_class": per_class, "result": result}


def bars_of(run: dict) -> dict[str, float]:
    """Values that are drawn as bars.

    IoU per class, or the average precisions and, of several classes, each one's.
    """
    if "miou" in run["result"]:
        return {row["class"]: float(row["iou"] or "nan") for row in run["per_class"]}
    bars = {called(name): run["result"][name] for name in numbers_of(run)}
    rows = run["per_class"] if len(run["per_class"]) > 1 else []
    return bars | {f"{row['class']} AP": float(row["box_ap"] or "nan") for row in rows}


def called(name: str) -> str:
    """Return a number of a result as people write it, such as box AP50."""
    return name.replace("_", " ").replace("ap", "AP").replace("miou", "mIoU")


def numbers_of(run: dict) -> list[str]:
    """Names of the numbers that the table shows."""
    return [name for name in (*SEGMENTATION, *DETECTION) if name in run["result"]]


def draw(runs: list[dict], out: Path) -> None:
    """Draw the validation's main number over the steps, and the bars of all runs side by side."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    curves, axes = figure.subplots(1, 2, width_ratios=(2, 3))
    width, main = 0.8 / len(runs), numbers_of(runs[0])[0]
    name = called(main)
    for number, run in enumerate(runs):
        steps = [int(row["step"]) for row in run["curve"]]
        (line,) = curves.plot(
            steps,
            [float(row[f"val_{main}"]) for row in run["curve"]],
            marker=".",
            label=run["name"],
        )
        if "val_mask_ap" in run["curve"][0]:
            masks = [float(row["val_mask_ap"]) for row in run["curve"]]
            curves.plot(
                steps,
                masks,
                marker=".",
                linestyle="--",
                color=line.get_color(),
                label=f"{run['name']}, masks",
            )
        bars = bars_of(run)
        positions = [index + (number - (len(runs) - 1) / 2) * width for index in range(len(bars))]
        axes.bar(
            positions, list(bars.values()), width, label=f"{run['name']}, {run['result'][main]:.1%}"
        )
    curves.set(xlabel="step", ylabel=f"validation {name}", ylim=0, title="validation")
    axes.set_xticks(range(len(bars)), bars, rotation=45, ha="right")
    axes.set(title=f"{runs[0]['result']['split']}, {name} in the legend")
    for panel in (curves, axes):
        panel.grid(visible=True, axis="y", alpha=0.3)
        panel.legend(loc="best" if panel is curves else "lower right", framealpha=0.9)
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--evaluation", default="evaluate")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    runs = [read_run(run, arguments.evaluation) for run in arguments.runs]
    draw(runs, arguments.out)
    numbers = numbers_of(runs[0])
    print("| model | " + " | ".join(numbers) + " |\n|" + "---|" * (1 + len(numbers)))
    for run in runs:
        print(
            f"| {run['name']} | "
            + " | ".join(f"{run['result'][name]:.4f}" for name in numbers)
            + " |"
        )


if __name__ == "__main__":
    main()
