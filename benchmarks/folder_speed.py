"""Photographs per second from a folder to answers: `nommer`, a plain script, and Ultralytics.

    python benchmarks/folder_speed.py PHOTOS runs/folder_speed --ultralytics VENV/bin/python

All answer with the same network (timm's resnet18 of random weights, 224 x 224, 1000 classes) for
the same 1,000 files, PHOTOS' own under as many names as it takes, and all decode, resize, compute
and write JSON of the five best classes. `evaluate` counts besides how many are of the class that
their folder names. Every call is a new process with its start; the programs take turns, and
their medians are compared. A call with one image tells what the start costs, beside a process
that imports torch alone. `network` is the time of the network's calls alone, in batches that are
in memory. Seconds by the clock say how fast the answers come, those of the processors what a busy
machine would say too.

Ultralytics is not needed by nommer (its licence is AGPL-3.0): its rows are left out without
--ultralytics, the interpreter of an environment that has it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import timm
import torch

from nommer.data.transforms import Preprocessing
from nommer.models.classification import Classifier
from nommer.models.networks import build_timm
from nommer.models.storage import save_model

CLASSES, SIZE, BATCH = 1000, 224, 32
HEAD = (
    "",
    "seconds",
    "of processors",
    "images/s",
    "speed, fastest peer 1",
    "by processors",
    "network's part",
)
HERE = Path(__file__).parent
NOMMER = (sys.executable, "-m", "nommer")
Seconds = tuple[float, float]
"""By the clock, and of all processors."""


def make_photos(photos: Path, out: Path, number: int) -> list[Path]:
    """Link the photographs below a folder into two class folders, each as often as needed."""
    found = sorted(path for path in photos.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    if not found:
        sys.exit(f"{photos}: no JPEG photographs found")
    made = [out / ("first", "second")[n % 2] / f"{n:05}.jpg" for n in range(number)]
    for n, path in enumerate(made):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.link(found[n % len(found)], path)
    return made


def make_model(out: Path) -> None:
    """Save one network as a model of nommer, and its weights for the plain script."""
    torch.manual_seed(0)
    network = build_timm("resnet18", num_classes=CLASSES, options={})
    names = ["first", "second", *(f"class {n}" for n in range(2, CLASSES))]
    preprocessing = Preprocessing(image_size=SIZE)
    model = Classifier(network, class_names=names, preprocessing=preprocessing)
    save_model(out / "model", model, metrics={}, version=version("nommer"))
    torch.save(network.state_dict(), out / "resnet18.pt")


def commands(told: argparse.Namespace, photos: Path) -> dict[str, list[str]]:
    """Return the programs by row: verb and name."""
    model, images = str(told.out / "model"), str(photos)
    common = ["--out", str(told.out / "answers"), "--overwrite", "--batch-size", str(BATCH)]
    peers = {"timm + torchvision": [sys.executable, str(HERE / "folder_plain.py")]}
    if told.ultralytics:
        peers["ultralytics"] = [told.ultralytics, str(HERE / "folder_ultralytics.py")]
    found = {
        "predict nommer": [*NOMMER, "predict", model, images, *common, "--pictures", "false"],
        "evaluate nommer": [*NOMMER, "evaluate", model, "--data", images, *common],
    }
    for name, program in peers.items():
        for verb in ("predict", "evaluate"):
            found[f"{verb} {name}"] = [*program, verb, str(told.out), images, str(told.threads)]
    return found


def timed(command: Sequence[str], environment: Mapping[str, str]) -> Seconds:
    """Return the seconds of a process and all that it starts, by the clock and of processors."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)  # noqa: S603 - as made here
        _, status, used = os.wait4(process.pid, 0)
        if status:
            said.seek(0)
            sys.exit(f"{' '.join(command)}: status {status}\n{said.read().decode()[-4000:]}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


def network_seconds(number: int, threads: int) -> Seconds:
    """Return the seconds of the network alone for so many images."""
    torch.set_num_threads(threads)
    network = timm.create_model("resnet18", num_classes=CLASSES).eval()
    images = torch.randn(BATCH, 3, SIZE, SIZE)
    with torch.inference_mode():
        network(images)
        began, used = time.perf_counter(), time.process_time()
        for _ in range(max(1, number // BATCH)):
            network(images)
    share = number / (max(1, number // BATCH) * BATCH)
    return (time.perf_counter() - began) * share, (time.process_time() - used) * share


def measure(told: argparse.Namespace) -> dict[str, list[Seconds]]:
    """Return the seconds per row, a pair per round."""
    photos = told.out / "photos"
    make_photos(told.photos, photos, told.images)
    one = make_photos(told.photos, told.out / "one", 2)[0].parents[1]
    make_model(told.out)
    environment = os.environ | {"OMP_NUM_THREADS": str(told.threads)}
    rows = commands(told, photos)
    starts = {
        f"start {row.removeprefix('predict ')}": command
        for row, command in commands(told, one).items()
        if row.startswith("predict")
    }
    torch_alone = {"start import torch": [sys.executable, "-c", "import torch"]}
    seconds: dict[str, list[Seconds]] = {}
    for turn in range(told.rounds + 1):
        for row, command in (rows | starts | torch_alone).items():
            spent = timed(command, environment)
            if turn:  # the first fills the caches of files and bytecode
                seconds.setdefault(row, []).append(spent)
                print(turn, row, *(round(part, 2) for part in spent), flush=True)
        if turn:
            alone = network_seconds(told.images, told.threads)
            seconds.setdefault("network", []).append(alone)
    return seconds


def table(seconds: Mapping[str, Sequence[Seconds]], images: int) -> str:
    """Return the medians in Markdown, and ratios to the fastest peer: above 1 is faster."""
    middle = {
        row: [statistics.median(part) for part in zip(*spent, strict=True)]
        for row, spent in seconds.items()
    }
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    for row, (wall, cpu) in middle.items():
        verb = row.split()[0]
        cells = [f"{wall:.2f}", f"{cpu:.2f}"]
        if verb in ("predict", "evaluate"):
            peers = [
                both
                for name, both in middle.items()
                if name.startswith(verb) and "nommer" not in name
            ]
            fastest = [min(part) for part in zip(*peers, strict=True)]
            share = middle["network"][1] / cpu
            cells += [
                f"{images / wall:.0f}",
                f"{fastest[0] / wall:.2f}",
                f"{fastest[1] / cpu:.2f}",
                f"{share:.0%}",
            ]
        lines.append(f"| {' | '.join([row, *cells, *[''] * (len(HEAD) - 1 - len(cells))])} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, and write the numbers and their table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder with JPEG photographs, searched deeply")
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ultralytics", help="interpreter of an environment that has it")
    told = parser.parse_args()
    told.out = told.out.absolute()
    told.out.mkdir(parents=True, exist_ok=True)
    seconds = measure(told)
    text = table(seconds, told.images)
    (told.out / "result.json").write_text(json.dumps(seconds, indent=1))
    (told.out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
