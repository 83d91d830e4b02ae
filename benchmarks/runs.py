"""Run many trainings, each a process of `nommer train`, a few at a time.

Finished ones are skipped, stopped ones go on.

What the benchmarks that train share. A run's folder is OUT/NAME-SEED, with its output in
OUT/NAME-SEED.log and its command in OUT/NAME-SEED.args.
"""

import argparse
import json
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FREE = ("--device", "--workers", "--cache")
"""Options that may differ between the parts of a run."""

AS_PUBLISHED = "--network.noise [1,1] --network.balance 0"
"""Options with which our own variants nominate as the published sizes do."""

MEASURES = {"top1": "top-1", "miou": "mIoU", "box_ap": "box AP"}
"""The main number of a result, per task, and what people call it."""


@dataclass(frozen=True)
class Run:
    """One training."""

    name: str
    seed: int
    folder: Path
    """Of all runs."""
    arguments: tuple[str, ...]
    """Of `nommer train`, but for --out and --seed."""

    @property
    def out(self) -> Path:
        """Return the run folder."""
        return self.folder / f"{self.name.replace(', ', '-').replace(' ', '_')}-{self.seed}"

    def beside(self, ending: str) -> Path:
        """Return the file of this ending next to the run folder, whose name may have a dot."""
        return self.out.with_name(self.out.name + ending)

    @property
    def finished(self) -> bool:
        """True once it is trained and evaluated."""
        return (self.out / "result.json").is_file()

    def check(self) -> None:
        """Refuse a folder that was trained with other arguments.

        Raises:
            SystemExit: both.
        """
        written, now = self.beside(".args"), shlex.join(without_free(self.arguments))
        before = written.read_text().strip() if written.is_file() else None
        if self.out.exists() and before not in (None, now):
            sys.exit(
                f"{self.out}: was trained with other arguments\n  then: {before}\n  now:  "
                f"{now}\nchoose another OUT"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        written.write_text(f"{now}\n")

    def start(self) -> subprocess.Popen:
        """Train in a process of its own, from the last checkpoint where there is one."""
        how = "--resume" if (self.out / "checkpoints" / "last.ckpt").is_file() else "--overwrite"
        command = [sys.executable, "-m", "nommer", "train", *self.arguments]
        command += ["--out", str(self.out), "--seed", str(self.seed), how]
        with self.beside(".log").open("a") as log:
            log.write(f"$ {shlex.join(command)}\n")
            log.flush()
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)  # noqa: S603


def parse(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """Arguments of a benchmark, and after `--` of every training."""
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--jobs", type=int, default=1, help="trainings at a time; 0: none, report what is finished"
    )
    parser.add_argument("--minutes", type=float, help="stop after; another call goes on")
    return parser.parse_args(arguments[:cut]), arguments[cut + 1 :]


def without_free(arguments: Sequence[str]) -> list[str]:
    """Arguments without the options that may differ, given as two words each."""
    skipped = {
        place + step for place, word in enumerate(arguments) if word in FREE for step in (0, 1)
    }
    return [word for place, word in enumerate(arguments) if place not in skipped]


def finish(runs: Sequence[Run], *, jobs: int, minutes: float | None = None) -> list[Run]:
    """Train what is not finished, `jobs` at a time, none if 0.

    After `minutes` stop, so that another call goes on.

    Returns:
        The runs that are still not finished.
    """
    if not jobs:
        return [run for run in runs if not run.finished]
    for run in runs:
        run.check()
    until = time.monotonic() + 60 * minutes if minutes else float("inf")
    waiting = [run for run in runs if not run.finished]
    say(f"{len(runs) - len(waiting)} of {len(runs)} runs are finished")
    active: dict[Run, subprocess.Popen] = {}
    try:
        while (waiting or active) and time.monotonic() < until:
            while waiting and len(active) < jobs:
                active[waiting[0]] = waiting[0].start()
                say(f"{waiting.pop(0).out.name} starts")
            time.sleep(0.5)
            for run in [run for run, process in active.items() if process.poll() is not None]:
                say(
                    f"{run.out.name} {'is finished' if run.finished else 'failed'}: "
                    f"{last_word(run)}"
                )
                del active[run]
    finally:
        stop(active)
    return [run for run in runs if not run.finished]


def stop(active: dict[Run, subprocess.Popen]) -> None:
    """Let runs that are not finished leave what they have, as on Ctrl-C.

    They go on from their last epoch.
    """
    for process in active.values():
        process.send_signal(signal.SIGINT)
    for run, process in active.items():
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
        say(f"{run.out.name} is stopped: {last_word(run)}")


def last_word(run: Run) -> str:
    """Return the main number of a finished run, or the last thing that another one has said."""
    if run.finished:
        result = json.loads((run.out / "result.json").read_text())
        return ", ".join(
            f"{name} {result[measure]:.2%}"
            for measure, name in MEASURES.items()
            if measure in result
        )
    lines = run.beside(".log").read_text(errors="replace").strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["nothing"])[-1].strip()


def say(line: str) -> None:
    """Print with the time of day."""
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def spread(values: Sequence[float]) -> str:
    """Return mean and, of several, their standard deviation, in percent."""
    mean = f"{statistics.mean(values):.1%}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean
