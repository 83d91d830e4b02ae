"""Check the files that are published, from building them to using them elsewhere.

`make release-check`, or `python tools/release_check.py --borrow`, which takes the packages of
others from this Python instead of downloading some gigabytes. Ends with code 1 at the first thing
that does not hold.
"""

import argparse
import os
import re
import shlex
import site
import socket
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from contextlib import suppress
from email import message_from_bytes
from pathlib import Path
from time import perf_counter, sleep
from urllib.request import urlopen

HOME = Path(__file__).resolve().parents[1]

PHOTOS = """
from importlib.resources import files
from pathlib import Path
from PIL import Image

examples = files("nommer") / "serving" / "pages" / "examples"
for source, name in (("flower", "cat"), ("temple", "dog")):  # photographs of the package, in parts
    with (examples / f"{source}.jpg").open("rb") as file:
        image = Image.open(file).convert("RGB")
    for part in range(12):
        left, top = part % 4 * image.width // 8, part // 4 * image.height // 8
        crop = image.crop((left, top, left + image.width // 2, top + image.height // 2))
        for path in (f"photos/{name}/{part}.jpg", f"pile/{name}{part}.jpg", f"more/{part}.png"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            crop.save(path)
    Path("holiday").mkdir(exist_ok=True)
    image.save(f"holiday/{name}.jpg")
"""
"""Makes the folders that the README's commands name."""

SHORT = {
    "train": "--model nommer_micro --image-size 64 --epochs 2",
    "pretrain": "--model nommer_micro --image-size 64 --epochs 1 --out runs/pile",
    "benchmark": "--models nommer_micro --peers resnet10t --sizes 64 --batches 1 --rounds 3",
}
"""What the README's commands are shortened by."""

TEACHER = "nommer_nano64.tiny_imagenet_200"
"""Stands for the README's MODEL."""

FAST = ("@tests/fast.txt",)
"""The files of `make test-fast`."""

MADE_PAGES = ("docs/project/", "docs/reference/settings/", "docs/reference/zoo.md")
"""Pages that only the site has; `make docs` follows links to them."""

CLIENT = """
from pathlib import Path

import nommer
from nommer import Classifier

out: Path = nommer.train(data="photos", out="runs/photos", epochs=3).out
model = nommer.load("runs/photos")
if isinstance(model, Classifier):
    print(model.predict(["a.jpg"])[0].source)
nommer.train(data="photos", out="run", epochs="three")
"""
"""A program of a user, whose last line is wrong."""


def main() -> None:
    """Do all checks in their order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--borrow", action="store_true", help="take packages from this Python")
    borrow = parser.parse_args().borrow
    check_links()
    with tempfile.TemporaryDirectory(prefix="nommer-release-") as work:
        folder = Path(work)
        sdist, wheel = build(folder / "dist")
        check_files(sdist, wheel)
        check_readme(wheel, folder)
        python = fresh_python(folder / "venv", wheel, borrow=borrow)
        check_types(python, folder / "client")
        use(python, folder / "use")
        test_source(sdist, folder / "source")
    print("release check: all holds")


def run(*command: object, cwd: Path = HOME, **environment: str) -> None:
    """Run a command; end with its output where it fails."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}\nfailed: {' '.join(map(str, command))}")


def tracked(*below: str) -> set[str]:
    """Return the files of the repository, by git."""
    listed = subprocess.run(
        ["git", "ls-files", *below],  # noqa: S607 - whatever git is installed
        cwd=HOME,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(listed.stdout.splitlines())


def check_links() -> None:
    """Refuse links between pages that lead nowhere."""
    for name in sorted(n for n in tracked() if n.endswith(".md")):
        text = (HOME / name).read_text(encoding="utf-8")
        text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            place = os.path.normpath(Path(name).parent / target)
            if "://" in target or place.startswith(MADE_PAGES):
                continue
            if not (HOME / place).exists():
                sys.exit(f"{name}: links to {target}, which is not there")
    print("links between pages: all lead somewhere")


def build(dist: Path) -> tuple[Path, Path]:
    """Build source and wheel in an environment of their own; ask what publishers ask."""
    run(sys.executable, "-m", "build", "--outdir", dist)
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    run(sys.executable, "-m", "check_wheel_contents", wheel)
    for file in (sdist, wheel):
        print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")
    return sdist, wheel


def check_files(sdist: Path, wheel: Path) -> None:
    """Refuse files of the package that are missing or too many, and metadata with gaps."""
    with zipfile.ZipFile(wheel) as files:
        names = {name for name in files.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in files.namelist() if name.endswith("dist-info/METADATA"))
        told = message_from_bytes(files.read(metadata))
    expected = {name.removeprefix("src/") for name in tracked("src")}
    refuse_difference(wheel.name, names, expected)
    with tarfile.open(sdist) as files:
        packed = {m.name.partition("/")[2] for m in files.getmembers() if m.isfile()}
    hidden = {n for n in tracked() if n.startswith(".")} - {".gitignore"}
    refuse_difference(sdist.name, packed - {"PKG-INFO"}, tracked() - hidden)
    for field in ("Author", "Summary", "License-Expression", "Keywords", "Requires-Python"):
        if not told[field]:
            sys.exit(f"{wheel.name}: its metadata lack {field}")
    print("files and metadata: complete")


def refuse_difference(name: str, found: set[str], expected: set[str]) -> None:
    """End where two sets of files differ."""
    if found != expected:
        lacking, more = sorted(expected - found)[:5], sorted(found - expected)[:5]
        sys.exit(f"{name}: lacks {lacking}, and holds {more} besides")


def check_readme(wheel: Path, folder: Path) -> None:
    """Render the wheel's description as a package index does; refuse what leads nowhere there."""
    with zipfile.ZipFile(wheel) as files:
        (metadata,) = (name for name in files.namelist() if name.endswith("dist-info/METADATA"))
        text = message_from_bytes(files.read(metadata)).get_payload(decode=True)
    source, page = folder / "description.md", folder / "description.html"
    source.write_bytes(text)
    run(sys.executable, "-m", "readme_renderer", source, "-o", page)
    html = page.read_text("utf-8")
    lost = re.findall(r'(?:src|href)="(?!https:|#|mailto:)([^"]+)"', html)
    if lost or re.search(r"<img(?![^>]*\ssrc=)", html):
        sys.exit(f"README: on a package index these lead nowhere: {lost or 'pictures'}")
    print(f"README: renders as on a package index, {html.count('<h2')} sections, no dead link")


def fresh_python(folder: Path, wheel: Path, *, borrow: bool) -> Path:
    """Make an environment with the wheel and what the README's commands need."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    began = perf_counter()
    if borrow:
        asked = "import site; print(site.getsitepackages()[0])"
        own = subprocess.check_output([python, "-c", asked], text=True).strip()
        theirs = "\n".join(site.getsitepackages())
        (Path(own) / "borrowed.pth").write_text(f"{theirs}\n", encoding="utf-8")
        run(python, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", wheel)
    else:
        run(python, "-m", "pip", "install", "-q", f"{wheel}[train,explain,export,serve]")
    took = f"{perf_counter() - began:.0f} s"
    print(
        f"installed into a fresh environment{' with borrowed packages' if borrow else ''}: {took}"
    )
    return python


def check_types(python: Path, folder: Path) -> None:
    """Prove `py.typed`: the types of the installed package find the one error of a client."""
    folder.mkdir()
    (folder / "client.py").write_text(CLIENT, encoding="utf-8")
    strict = ("--strict", "--follow-imports=silent", "--python-executable", str(python))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *strict, "client.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    if len(errors) != 1 or 'Argument "epochs" to "train" has incompatible type' not in errors[0]:
        sys.exit(f"{done.stdout}{done.stderr}\npy.typed: mypy should find one wrong argument")
    print("py.typed: mypy finds the wrong argument of a client, and nothing else")


def readme_commands() -> list[str]:
    """Return the README's calls of nommer, each once, without its comment."""
    blocks = re.findall(r"^```\n(.*?)^```", (HOME / "README.md").read_text("utf-8"), re.S | re.M)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    calls = (line.removeprefix("nommer ") for line in lines if line.startswith("nommer "))
    return list(dict.fromkeys(calls))


def use(python: Path, folder: Path) -> None:
    """Go a new user's way with the installed command, far from the repository."""
    folder.mkdir()
    alone = {"OMP_NUM_THREADS": "1", "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": ""}
    run(python, "-c", PHOTOS, cwd=folder, **alone)
    nommer = python.with_name("nommer")
    for command in ("predict holiday/cat.jpg", *readme_commands(), "demo --epochs 2"):
        verb, *arguments = shlex.split(command.replace("MODEL", TEACHER))
        given = [verb, *arguments, *SHORT.get(verb, "").split()]
        started = perf_counter()
        if verb == "serve":
            serve(nommer, given, folder, alone)
        else:
            run(nommer, *given, cwd=folder, **alone)
        print(f"nommer {' '.join(given)}: {perf_counter() - started:.0f} s", flush=True)


def serve(nommer: Path, arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Start the server, wait until it is ready, and let it end by itself."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with (
        (folder / "served.txt").open("w+") as said,
        subprocess.Popen(
            [nommer, *arguments, "--port", port],
            cwd=folder,
            env=os.environ | environment,
            stdout=said,
            stderr=said,
        ) as server,
    ):
        for _ in range(600):
            with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/ready"):
                break
            if server.poll() is not None:
                break
            sleep(0.5)
        else:
            said.write("never ready\n")
        server.terminate()
    if server.returncode:
        sys.exit(f"{(folder / 'served.txt').read_text()}\nfailed: nommer {' '.join(arguments)}")


def test_source(sdist: Path, folder: Path) -> None:
    """Run the fast tests in the unpacked source."""
    with tarfile.open(sdist) as files:
        files.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    started = perf_counter()
    tests = ("-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "-m", "not slow", *FAST)
    run(sys.executable, *tests, cwd=root, PYTHONPATH=str(root / "src"))
    print(f"the unpacked source passes the fast tests: {perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
