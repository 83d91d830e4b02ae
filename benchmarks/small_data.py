"""Train small networks on little data from scratch, each for the same processor time, and judge.

    python benchmarks/small_data.py ../shared/data/tiny_imagenet_200 runs/small_data --seeds 0 1

Ten classes of Tiny ImageNet (every twentieth by WordNet id) with 200 training images each; its 50
validation images per class choose the epoch, and 100 other training images per class are the test
images. Every case has the epochs that fit its network into about the same processor time.
OUT/table.md gets the table. The images must not be passed on (ImageNet's terms).
"""

import argparse
import json
import resource
import shutil
import tarfile
from pathlib import Path

from runs import AS_PUBLISHED, Run, finish, parse, say

import nommer

LEARNED, JUDGED = 200, 100
"""Training images and test images per class."""

PUBLISHED = f" {AS_PUBLISHED}"
MINI = "--model nommer_mini64 --lr 2e-3 --optim.name muon"
CASES = {
    "nommer_nano, stem stride 2": (
        "--model nommer_nano --optim.name adamw --lr 1e-3" + PUBLISHED,
        3,
    ),
    "nommer_nano64": ("--model nommer_nano64 --optim.name adamw --lr 2e-3" + PUBLISHED, 10),
    "nommer_pico64": ("--model nommer_pico64 --optim.name adamw --lr 2e-3" + PUBLISHED, 14),
    "nommer_nano64, learning rate 1e-3": (
        "--model nommer_nano64 --optim.name adamw --lr 1e-3" + PUBLISHED,
        10,
    ),
    "nommer_nano64, Muon": ("--model nommer_nano64 --lr 2e-3 --optim.name muon" + PUBLISHED, 9),
    "nommer_mini64, Muon": (MINI + PUBLISHED, 8),
    "nommer_mini64, Muon, less noise and a light balance (the default)": (MINI, 8),
    "nommer_mini64, Muon, late choice": (
        MINI + " --network.choose-from 0.5 --network.balance 1 --network.decided 0.5",
        8,
    ),
}
"""Options of `nommer train`, and epochs."""


def unpack(source: Path, out: Path) -> None:
    """Write `out`/SPLIT/WNID with the chosen images."""
    chosen = sorted((source / "wnids.txt").read_text().split())[::20]
    with tarfile.open(source / "train.tar.gz") as archive:
        for member in archive:
            path = Path(member.name)
            if path.suffix == ".JPEG" and path.parts[-3] in chosen:
                number = int(path.stem.rpartition("_")[2])
                split = "train" if number < LEARNED else "test"
                if number < LEARNED + JUDGED:
                    write(out / split / path.parts[-3] / path.name, archive, member.name)
    with tarfile.open(source / "val.tar.gz") as archive:
        rows = archive.extractfile("tiny-imagenet-200/val/val_annotations.txt").read().decode()
        for file, wnid, *_ in (row.split("\t") for row in rows.splitlines()):
            if wnid in chosen:
                write(out / "val" / wnid / file, archive, f"tiny-imagenet-200/val/images/{file}")


def write(target: Path, archive: tarfile.TarFile, member: str) -> None:
    """Write a member of an archive."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(archive.extractfile(member).read())


def processor_seconds() -> float:
    """Return the time of the processes that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def train(run: Run) -> None:
    """Train a run, and note its processor time beside it."""
    before = processor_seconds()
    if not run.finished and not finish([run], jobs=1):
        seconds = round(processor_seconds() - before)
        run.beside(".seconds").write_text(f"{seconds}\n")


def numbers_of(run: Run) -> dict:
    """Return the numbers of a run on the test images."""
    folder = run.out / "evaluate_test"
    if not (folder / "result.json").is_file():
        say(f"{run.out.name}: evaluating on the test images")
        nommer.evaluate(run.out, split="test", out=folder, overwrite=True)
    return json.loads((folder / "result.json").read_text())


def as_table(runs: list[Run]) -> str:
    """Return a line per case with every seed's numbers."""
    lines = ["| case | epochs | processor seconds | test top-1 of the seeds |", "|---|---|---|---|"]
    for name, (_, epochs) in CASES.items():
        done = [run for run in runs if run.name == name and run.finished]
        if done:
            seconds = ", ".join(run.beside(".seconds").read_text().strip() for run in done)
            shown = ", ".join(f"{100 * numbers_of(run)['top1']:.1f}" for run in done)
            lines.append(f"| {name} | {epochs} | {seconds} | {shown} % |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    told, more = parse(parser)
    data = told.out / "data"
    if not (data / "val").is_dir():
        shutil.rmtree(data, ignore_errors=True)
        unpack(told.data, data)
    common = ("--data", str(data), "--workers", "0", "--cache", "ram", "--device", "cpu")
    runs = []
    for seed in told.seeds:
        for name in told.cases:
            options, epochs = CASES[name]
            how = (*options.split(), "--epochs", str(epochs), *common, *more)
            runs.append(Run(name, seed, told.out, how))
    for run in runs if told.jobs else ():
        train(run)
    table = as_table(runs)
    (told.out / "table.md").write_text(table)
    print(table, end="")


if __name__ == "__main__":
    main()
