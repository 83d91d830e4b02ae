# ruff: noqa: S311, S603, S607 - nothing here is a secret, and commands are its own
"""Kill, stop and starve small trainings in every way, let them go on, and compare them with
undisturbed ones.

    python benchmarks/faults.py --out runs/faults --rounds 10 --epochs 6

makes the tables of `docs/faults.md`: what was tried, how often, and whether anything was lost; and
for each task how a run that was killed at random steps compares with one that was not. Data are
made; networks are the smallest. Every run is a process of its own. Full and read-only disks are
real ones where there are the rights to mount them. Random choices depend on --seed alone. Needs
Linux.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from faulty_processes import Processes
from made_data import make_data
from safetensors.torch import load_file
from same_runs import differences, rows

COMMON = [
    "--model=nommer_micro",
    "--workers=0",
    "--device=cpu",
    "--network.drop-path-rate=0.3",
    "--checkpoint-minutes=0",
]

OPTIONS = {
    "classification": [
        "--batch-size=6",
        "--image-size=32",
        "--augment.mixup=0.5",
        "--augment.random-erasing=0.5",
    ],
    "segmentation": [
        *("--batch-size=3", "--image-size=32"),
        *("--segmentation.decoder-channels=8", "--segmentation.auxiliary-channels=4"),
    ],
    "detection": [
        *("--batch-size=3", "--detection.short-side=48"),
        *("--detection.fpn-channels=8", "--detection.box-channels=16"),
    ],
}


@dataclass
class Tally:
    """Outcome of one kind of fault."""

    name: str
    tried: int = 0
    outcomes: Counter = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    codes: Counter = field(default_factory=Counter)


class Trial:
    """Runs of one task: one that ran through, and others that faults happened to."""

    def __init__(
        self, task: str, data: Path, out: Path, processes: Processes, *, epochs: int
    ) -> None:
        self.task, self.out, self.processes, self.epochs = task, out / task, processes, epochs
        self.options = [f"--data={data}", *COMMON, *OPTIONS[task], f"--epochs={epochs}"]
        self.whole = self.out / "whole"
        code, said = processes.train(*self.options, f"--out={self.whole}")
        if code != 0:
            raise SystemExit(f"{task}: the run without a fault failed: {said}")
        self.steps = int(rows(self.whole / "metrics.csv")[-1]["step"])

    def go_on(self, run: Path, tally: Tally, *, expected: set[int], code: int, said: str) -> None:
        """Let a run go on, and note what was lost."""
        tally.tried += 1
        tally.codes[code] += 1
        last = run / "checkpoints" / "last.ckpt"
        if code not in expected:
            tally.lost.append(f"{self.task}: exit code {code}: {said[-300:]}")
        if "Traceback" in said:
            tally.lost.append(f"{self.task}: a traceback: {said[-300:]}")
        if (run / "model" / "model.json").is_file():
            load_file(run / "model" / "model.safetensors")
        how = "--resume" if last.is_file() else "--overwrite"
        tally.outcomes["went on" if last.is_file() else "began anew: nothing was saved yet"] += 1
        done, said = self.processes.train(*self.options, f"--out={run}", how)
        if done != 0:
            tally.lost.append(f"{self.task}: could not go on: {said[-300:]}")
        elif found := differences(self.whole, run):
            tally.lost.append(f"{self.task}: {', '.join(found)}")
        left = [path.name for path in run.rglob("*.tmp")] if run.exists() else []
        if left:
            tally.lost.append(f"{self.task}: left behind: {left}")
        shutil.rmtree(run, ignore_errors=True)

    def fail(self, tally: Tally, fault: list, *, expected: set[int]) -> None:
        """Have a fault happen to a run, and let it go on."""
        run = self.out / "faulty"
        code, said = self.processes.train(*self.options, f"--out={run}", fault=fault)
        self.go_on(run, tally, expected=expected, code=code, said=said)


def count_calls(trial: Trial) -> dict[str, int]:
    """Return how often a whole run flushes and renames."""
    run, counts = trial.out / "counted", {}
    for name in ("fsync", "replace"):
        _, said = trial.processes.train(*trial.options, f"--out={run}", fault=["count", name])
        counts[name] = int(said.rpartition(f"calls of {name}: ")[2].split()[0])
        shutil.rmtree(run)
    return counts


def try_faults(trial: Trial, tallies: dict[str, Tally], chance: random.Random, rounds: int) -> None:
    """Have every kind of fault happen that needs no rights."""

    def tally(name: str) -> Tally:
        return tallies.setdefault(name, Tally(name))

    calls = count_calls(trial)
    for _ in range(rounds):
        step = chance.randint(1, trial.steps)
        trial.fail(tally("kill -9 at a random step"), ["step", step], expected={-9})
        trial.fail(
            tally("kill -9 after a random time"),
            ["after", chance.uniform(0.3, 3.0)],
            expected={-9, 0},
        )
        for name, said in (
            ("fsync", "kill -9 instead of flushing a file or folder"),
            ("replace", "kill -9 instead of renaming"),
        ):
            trial.fail(tally(said), ["call", name, chance.randint(1, calls[name])], expected={-9})
        trial.fail(
            tally("kill -9 in the middle of a checkpoint"),
            ["write", chance.randint(1, trial.steps)],
            expected={-9},
        )
        asked = chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
        fault = ["signal", asked, chance.randint(1, trial.steps)]
        trial.fail(
            tally("Ctrl-C, SIGTERM or SIGUSR1 at a random step"), fault, expected={128 + asked}
        )
    for size in (20_000, 1_000_000):
        trial.fail(tally("no file may grow (RLIMIT_FSIZE)"), ["full", size], expected={2})


def mounted(folder: Path, options: str) -> bool:
    """Mount a small disk, and return True where that could be done."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return (
        shutil.which("mount") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


def try_disks(trial: Trial, tallies: dict[str, Tally], sizes: list[int]) -> None:
    """Train on disks that are full, and on one that is made read-only and writable again."""
    disk = trial.out / "disk"
    for size in sizes:
        if not mounted(disk, f"size={size}k"):
            return
        run = disk / "run"
        tally = tallies.setdefault(
            "a full disk (tmpfs), later larger", Tally("a full disk (tmpfs), later larger")
        )
        try:
            code, said = trial.processes.train(*trial.options, f"--out={run}")
            subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
            trial.go_on(run, tally, expected={2}, code=code, said=said)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    if mounted(disk, "size=200m"):
        run = disk / "run"
        tally = tallies.setdefault(
            "a disk that is read-only, later writable",
            Tally("a disk that is read-only, later writable"),
        )
        try:
            code, _ = trial.processes.train(
                *trial.options, f"--out={run}", fault=["signal", signal.SIGTERM, trial.steps // 2]
            )
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            code, said = trial.processes.train(*trial.options, f"--out={run}", "--resume")
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            trial.go_on(run, tally, expected={2}, code=code, said=said)
        finally:
            subprocess.run(["umount", str(disk)], check=True)


def compare(trial: Trial, chance: random.Random, times: int) -> dict[str, object]:
    """Compare a run that is killed several times and goes on each time with the whole one."""
    run, killed = trial.out / "often", []
    how: list[str] = []
    for _ in range(times):
        step = chance.randint(2, max(2, trial.steps // (times + 1)))
        trial.processes.train(*trial.options, f"--out={run}", *how, fault=["step", step])
        if (run / "checkpoints" / "last.ckpt").is_file():
            how = ["--resume"]
            state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
            killed.append(int(state["global_step"]))
    trial.processes.train(*trial.options, f"--out={run}", *how)
    found = differences(trial.whole, run)
    last = [rows(folder / "metrics.csv")[-1] for folder in (trial.whole, run)]
    measure = next(name for name in last[0] if name in ("val_top1", "val_miou", "val_box_ap"))
    row = {
        "task": trial.task,
        "steps": trial.steps,
        "killed after step": ", ".join(map(str, killed)),
    }
    row |= {
        f"train loss, {how}": last[index]["train_loss"]
        for index, how in enumerate(("whole", "killed"))
    }
    row |= {
        f"{measure}, {how}": last[index][measure] for index, how in enumerate(("whole", "killed"))
    }
    return row | {"differs in": ", ".join(found) or "nothing"}


def main() -> None:
    """Try everything and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the runs; must not exist"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=10,
        help="times that every kind of fault happens to every task",
    )
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    chance, data = random.Random(given.seed), make_data(given.out / "data")
    processes, tallies, compared = Processes(given.out), {}, []
    for task in given.tasks:
        trial = Trial(task, data[task], given.out, processes, epochs=given.epochs)
        compared.append(compare(trial, chance, 3))
        try_disks(trial, tallies, [100, 2000, 6000, 9000])
        try_faults(trial, tallies, chance, given.rounds)
        show(tallies, compared)
    processes.end()
    (given.out / "compared.json").write_text(json.dumps(compared, indent=2))
    raise SystemExit(any(tally.lost for tally in tallies.values()))


def show(tallies: dict[str, Tally], compared: list[dict[str, object]]) -> None:
    """Print both tables as Markdown."""
    print("| fault | times | exit codes | afterwards | lost |\n|---|---|---|---|---|")
    for tally in tallies.values():
        codes = ", ".join(f"{code} ({count})" for code, count in sorted(tally.codes.items()))
        after = ", ".join(f"{what} ({count})" for what, count in tally.outcomes.most_common())
        print(
            f"| {tally.name} | {tally.tried} | {codes} | {after} | "
            f"{'; '.join(tally.lost) or 'nothing'} |"
        )
    for row in compared:
        print()
        print("\n".join(f"- {name}: {value}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
