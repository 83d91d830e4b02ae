"""Streets, blood cells and nuclei: from pretrained without labels, from scratch, and the peers.

    python benchmarks/teacher_weights.py data/lite0
    nommer pretrain --data PHOTOS --teacher timm:efficientnet_lite0 \\
        --distillation.weights data/lite0/model.safetensors --distillation.image-size 128 \\
        --model nommer_mini64 --image-size 64 --out runs/start
    python benchmarks/pretraining.py DATA runs/pretraining --seeds 0 1 2 \\
        --start nommer_mini64=runs/start -- --epochs 4 --epoch-steps 80

DATA holds the folders camvid, bccd and dsb2018, as the recipes of these names want them; --tasks
chooses among them. Every model of --models is trained from scratch by the recipe; every MODEL=RUN
of --start besides from that model folder or entry of the zoo, peers too (--start
timm:resnet18=RUN). All have the same data, steps and seeds, and a NomMer from scratch has the stem,
windows and blocks of its start. What stands after -- goes to every `nommer train`. The best epoch
on the validation images is judged on the test images, of dsb2018, which has none, on the validation
images. Runs that are finished are not trained again, others go on; OUT/table.md gets the table,
OUT/results.json its numbers.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from fine_tuning import evaluated, sizes_of
from runs import MEASURES, Run, finish, parse

RECIPES = {
    "camvid": "camvid_nommer_nano",
    "bccd": "bccd_nommer_nano",
    "dsb2018": "dsb2018_nommer_nano",
}
WITHOUT_TEST = {"dsb2018"}
MODELS = ("nommer_mini64", "timm:resnet10t", "timm:resnet18", "timm:convnext_atto")


def starts_of(told: argparse.Namespace) -> list[tuple[str, str]]:
    """Models, each with a model folder to start from.

    Raises:
        SystemExit: one that is not written so.
    """
    found = [tuple(one.split("=", 1)) for one in told.start]
    if any(len(pair) != 2 or not all(pair) for pair in found):
        sys.exit(f"--start {' '.join(told.start)}: expected MODEL=RUN")
    return found


def of_task(
    task: str, told: argparse.Namespace, arguments: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Arguments of a task's trainings by name: from scratch, and from each start."""
    starts = starts_of(told)
    same = {model: sizes_of(run) for model, run in starts if not model.startswith("timm:")}
    common = ["--data", str(told.data / task), "--config", RECIPES[task]]
    found = {}
    for model in told.models:
        name = f"{task} {model.removeprefix('timm:')}"
        found[name] = (*common, "--model", model, *same.get(model, []), *arguments)
    for model, run in starts:
        name = f"{task} {model.removeprefix('timm:')} from {Path(run).name}"
        taken = ["--model", model, *same.get(model, []), "--pretrained", run]
        found[name] = (*common, *taken, *arguments)
    return found


def runs_of(told: argparse.Namespace, arguments: Sequence[str]) -> list[tuple[str, Run]]:
    """All trainings, each with its task; those of a seed before those of the next."""
    return [
        (task, Run(name, seed, told.out, whole))
        for seed in told.seeds
        for task in told.tasks
        for name, whole in of_task(task, told, arguments).items()
    ]


def results(runs: Sequence[tuple[str, Run]], told: argparse.Namespace) -> dict[str, dict]:
    """Return the main number of each task and seed, of every network and start."""
    found: dict[str, dict] = {}
    for task, run in runs:
        if run.finished:
            split = "val" if task in WITHOUT_TEST else "test"
            numbers = evaluated(run, told, split=split)
            measure = next(name for name in MEASURES if name in numbers)
            row = found.setdefault(run.name.removeprefix(f"{task} "), {})
            row.setdefault(task, {})[run.seed] = numbers[measure]
    return found


def as_table(found: dict[str, dict], tasks: Sequence[str]) -> str:
    """Return mean and deviation over the seeds, and in brackets how many."""
    what = {"camvid": "CamVid, mIoU", "bccd": "BCCD, box AP", "dsb2018": "DSB2018, box AP"}
    lines = ["| network | " + " | ".join(what[task] for task in tasks) + " |"]
    lines.append("|" + "---|" * (1 + len(tasks)))
    for name, row in found.items():
        cells = []
        for task in tasks:
            values = [100 * value for value in row.get(task, {}).values()]
            deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            shown = f"{statistics.mean(values):.1f} %{deviation} ({len(values)})" if values else ""
            cells.append(shown)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--models", nargs="*", default=list(MODELS), help="from scratch")
    parser.add_argument("--start", nargs="+", default=[], help="MODEL=RUN, any number")
    parser.add_argument("--device", default="auto", help="for the test images")
    parser.add_argument("--workers", type=int, help="for the test images")
    told, more = parse(parser)
    runs = runs_of(told, more)
    left = finish([run for _, run in runs], jobs=told.jobs, minutes=told.minutes)
    found = results(runs, told)
    if found:
        table = as_table(found, told.tasks)
        Path(told.out / "results.json").write_text(json.dumps(found, indent=1))
        Path(told.out / "table.md").write_text(table)
        print(table, end="")
    if left:
        sys.exit(f"not finished: {', '.join(run.out.name for run in left)}")


if __name__ == "__main__":
    main()
