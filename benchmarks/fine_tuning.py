"""Train segmentation and detection on photographs from a backbone of the zoo, and from scratch.

    python benchmarks/fine_tuning.py camvid CAMVID runs/fine_tuning --pretrained nommer_nano \\
        --seeds 0 1 2
    python benchmarks/fine_tuning.py bccd BCCD runs/fine_tuning --pretrained nommer_nano \\
        --seeds 0 1 2

CAMVID and BCCD are the folders that the recipes `camvid_nommer_nano` and `bccd_nommer_nano` name.
Both trainings have that recipe, the same seed, data order, steps and network: stem stride, windows
and DCT blocks are those of the entry. What stands after -- goes to every `nommer train`. The best
epoch on the validation images is evaluated on the test images.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence

from compare_runs import called, numbers_of
from runs import Run, finish, parse, say

import nommer
from nommer.models.storage import nommer_of

RECIPES = {"camvid": "camvid_nommer_nano", "bccd": "bccd_nommer_nano"}


def sizes_of(start: str) -> list[str]:
    """Options that give a NomMer from scratch the sizes of the one in a model."""
    config = nommer_of(nommer.load(start), start).config
    same = ["--network.patch_size", str(config.patch_size)]
    same += [] if config.stem == "patch" else ["--network.stem", config.stem]
    same += ["--network.window_size", str(config.window_size)]
    return [*same, "--network.block_sizes", json.dumps(list(config.block_sizes))]


def runs_of(told: argparse.Namespace, arguments: Sequence[str]) -> list[Run]:
    """Per seed a training from scratch and one from the entry."""
    same = sizes_of(told.pretrained)
    common = [
        "--data",
        str(told.data),
        "--config",
        RECIPES[told.task],
        "--model",
        told.model,
        *same,
        *arguments,
    ]
    return [
        Run(f"{told.task} {name}", seed, told.out, (*common, *more))
        for seed in told.seeds
        for name, more in {"scratch": (), "pretrained": ("--pretrained", told.pretrained)}.items()
    ]


def evaluated(run: Run, told: argparse.Namespace, split: str = "test") -> dict:
    """Return the numbers on the test images, or those of another split."""
    folder = run.out / f"evaluate_{split}"
    if not (folder / "result.json").is_file():
        say(f"{run.out.name}: evaluating on the {split} images")
        nommer.evaluate(
            run.out,
            split=split,
            out=folder,
            device=told.device,
            workers=told.workers,
            overwrite=True,
        )
    return json.loads((folder / "result.json").read_text())


def as_table(runs: Sequence[Run], told: argparse.Namespace) -> str:
    """Return mean and deviation over the seeds of every number, per start."""
    results: dict[str, list[dict]] = {}
    for run in runs:
        if run.finished:
            results.setdefault(run.name, []).append(evaluated(run, told))
    names = numbers_of({"result": next(iter(results.values()))[0]})
    lines = ["| start | " + " | ".join(map(called, names)) + " |", "|" + "---|" * (1 + len(names))]
    for start, found in results.items():
        cells = []
        for name in names:
            values = [one[name] for one in found]
            deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.4f}{deviation}")
        lines.append(f"| {start} ({len(found)}) | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=list(RECIPES))
    parser.add_argument(
        "--pretrained", default="nommer_nano", help="name of the zoo, run folder or model folder"
    )
    parser.add_argument("--model", default="nommer_nano", help="its variant")
    parser.add_argument("--device", default="auto", help="for the test images")
    parser.add_argument("--workers", type=int, help="for the test images")
    told, more = parse(parser)
    runs = runs_of(told, more)
    left = finish(runs, jobs=told.jobs, minutes=told.minutes)
    if any(run.finished for run in runs):
        table = as_table(runs, told)
        (told.out / f"{told.task}.md").write_text(table)
        print(table, end="")
    if left:
        sys.exit(f"not finished: {', '.join(run.out.name for run in left)}")


if __name__ == "__main__":
    main()
