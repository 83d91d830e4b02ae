"""Measure the memory that a training and its workers hold of their own, epoch after epoch.

    python benchmarks/input_memory.py --out FOLDER [--epochs 50] [--cache ram]

Trains nommer_micro on scikit-learn's digits through the command line, and asks Linux (smaps_rollup)
what its processes hold besides files; pages that they share count once, and the cache of images
too. Writes memory.csv and memory.png, and says the slope over the second half.
"""

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from nommer.data.digits import write_digits


def tree(process):
    """Return a process and all that it started."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(found for child in children for found in tree(int(child)))]


def megabytes(process):
    """Return a process's part of the memory that is no file's.

    Its own pages, and its share of those that several map.
    """
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return (
        sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
        / 1024
    )


def watch(command, epochs):
    """Megabytes of the training process, and of its workers together, after each epoch.

    And how many workers.
    """
    rows = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:  # noqa: S603 - nommer itself
        for line in running.stderr:
            print(line, end="", file=sys.stderr)
            if (
                line.startswith("epoch ") and len(rows) < epochs - 1
            ):  # after the last one, others begin to evaluate
                first, *workers = tree(running.pid)
                own, theirs = megabytes(first), sum(map(megabytes, workers))
                rows.append(
                    {
                        "epoch": len(rows) + 1,
                        "training": own,
                        "workers": theirs,
                        "processes": len(workers),
                    }
                )
    if running.returncode:
        sys.exit(running.returncode)
    return rows


def draw(rows, path):
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    epochs = [row["epoch"] for row in rows]
    for name in ("training", "workers"):
        axes.plot(
            epochs,
            [row[name] for row in rows],
            label=f"{name} process" if name == "training" else name,
        )
    axes.set(
        xlabel="epoch", ylabel="MB, shared pages once", ylim=(0, None), title="memory of a training"
    )
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--cache", default="none")
    settings = parser.parse_args()
    settings.out.mkdir(parents=True, exist_ok=True)
    data = write_digits(settings.out / "digits")
    command = [
        sys.executable,
        "-m",
        "nommer",
        "train",
        "--data",
        data,
        "--out",
        settings.out / "run",
        "--overwrite",
    ]
    options = (
        "--model nommer_micro --batch-size 32 --epoch-steps 8 --workers 2 --device cpu --cache"
    )
    command += [*options.split(), settings.cache, "--epochs", str(settings.epochs)]
    rows = watch(list(map(str, command)), settings.epochs)
    with (settings.out / "memory.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, settings.out / "memory.png")
    half = rows[len(rows) // 2 :]
    for name in ("training", "workers"):
        slope = np.polyfit([row["epoch"] for row in half], [row[name] for row in half], 1)[0]
        print(
            f"{name}: {half[-1][name]:.1f} MB after {len(rows)} epochs, {slope:+.3f} MB per epoch "
            "in the second half"
        )


if __name__ == "__main__":
    main()
