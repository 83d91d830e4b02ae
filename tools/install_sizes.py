"""Install the package into fresh environments, and tell sizes and times.

python tools/install_sizes.py [WHEEL]           # core, [train] and [all]; builds the wheel
python tools/install_sizes.py --only core --first torch torchvision --index-url ADDRESS

Each environment is made, measured, tried and removed again: some gigabytes and minutes each.
Seconds are by the clock, processor seconds beside them, and of the first import the latter alone.
`--first` installs that before, so that the rest finds it there, as the route without a GPU does.
`--system` uses what the system's Python has, such as PyTorch of a Linux distribution.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import rmtree
from time import perf_counter

HOME = Path(__file__).resolve().parents[1]

CORE = "import nommer; nommer.load('nommer_nano64.tiny_imagenet_200_balanced')"
LEARNS = "from nommer.training import train"


def main() -> None:
    """Measure those that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", nargs="?", type=Path, help="built where it is left out")
    parser.add_argument("--only", nargs="+", default=["core", "train", "all"], metavar="EXTRA")
    parser.add_argument("--first", nargs="+", default=[], metavar="PACKAGE")
    parser.add_argument("--index-url", help="where those of --first come from")
    parser.add_argument("--system", action="store_true", help="see the system's packages")
    parser.add_argument("--python", default=sys.executable, help="whose version is tried")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the environments there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nommer-installs-") as work:
        wheel = given.wheel or build(Path(work))
        print("| | packages | MB | PyTorch | NVIDIA, Triton | s | processor s | first import, s |")
        print("|---|---|---|---|---|---|---|---|")
        for extra in given.only:
            print(
                measure(extra, wheel.resolve(), Path(given.keep or work, extra), given), flush=True
            )


def build(folder: Path) -> Path:
    """Build the wheel."""
    quiet(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, HOME)
    (wheel,) = folder.glob("*.whl")
    return wheel


def measure(extra: str, wheel: Path, folder: Path, given: argparse.Namespace) -> str:
    """Return a row of the table: one environment, from nothing to a loaded model."""
    flags = ["--system-site-packages"] * given.system
    quiet(given.python, "-m", "venv", *flags, folder)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = (python, "-m", "pip", "install", "-q", "--no-compile")
    began, before = perf_counter(), processor()
    if given.first:
        index = ["--index-url", given.index_url] if given.index_url else []
        quiet(*pip, *index, *given.first)
    quiet(*pip, str(wheel) if extra == "core" else f"{wheel}[{extra}]")
    installed, computed = perf_counter() - began, processor() - before
    (packages,) = folder.glob("[Ll]ib/**/site-packages")
    sizes = {entry.name: size(entry) for entry in packages.iterdir() if entry.name != "__pycache__"}
    before = processor()
    quiet(python, "-c", CORE if extra == "core" else f"{CORE}; {LEARNS}")
    imported = processor() - before
    of_torch, of_nvidia = (
        sum(s for name, s in sizes.items() if re.match(pattern, name))
        for pattern in (r"torch(gen)?$", r"nvidia|triton|cuda")
    )
    count = sum(name.endswith(".dist-info") for name in sizes)
    numbers = (count, sum(sizes.values()), of_torch, of_nvidia, installed, computed, imported)
    if not given.keep:
        rmtree(folder)
    return f"| {extra} | " + " | ".join(f"{number:,.0f}" for number in numbers) + " |"


def processor() -> float:
    """Return the processor seconds of all processes that were run and have ended."""
    told = os.times()
    return told.children_user + told.children_system


def size(path: Path) -> float:
    """Return the megabytes of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def quiet(*command: object) -> None:
    """Run a command; end with its output where it fails."""
    clean = os.environ | {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*map(str, command)], env=clean, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}\nfailed: {' '.join(map(str, command))}")


if __name__ == "__main__":
    main()
