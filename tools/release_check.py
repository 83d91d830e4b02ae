"""Check the files that are published, from building them to using them elsewhere.

`make release-check`, or `python tools/release_check.py --borrow`, which takes the packages of
others from this Python instead of downloading some gigabytes. Ends with code 1 at the first thing
that does not hold.
"""

import argparse
import os
import re
import site
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]

SMOKE = """
import sys
from pathlib import Path
from PIL import Image
import nommer
from nommer.cli import main

assert "site-packages" in nommer.__file__, nommer.__file__
for split, count in (("train", 4), ("val", 2)):
    for name, colour in (("red", (200, 40, 30)), ("blue", (30, 40, 200))):
        folder = Path("photos", split, name)
        folder.mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (48, 40), tuple(c + 5 * number for c in colour)).save(
                folder / f"{number}.png"
            )
small = "--model=nommer_micro --epochs=1 --batch-size=4 --image-size=32 --workers=0 --device=cpu"
assert main(["predict", "photos/val", "--device=cpu"]) == 0  # a model of the zoo
assert main(["train", "--data=photos", "--out=run", *small.split()]) == 0
assert main(["evaluate", "run", "--device=cpu"]) == 0
assert main(["predict", "run", "photos/val", "--device=cpu"]) == 0
assert len(nommer.load("run").predict(["photos/val/red/0.png"])) == 1
"""

QUICK_TESTS = ("tests/test_extras.py", "tests/settings", "tests/runs/test_lock.py")
"""That are run from the unpacked source, without the slow ones."""


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
        check_readme(folder)
        python = fresh_python(folder / "venv", wheel, borrow=borrow)
        smoke(python, folder / "smoke")
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
        page = HOME / name
        text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in target and not (page.parent / target).exists():
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
    made = {"PKG-INFO", "setup.cfg"} | {n for n in packed if ".egg-info/" in n}
    left_out = {n for n in tracked() if n.startswith(".") or n.split("/")[0] in ("zoo", "deploy")}
    refuse_difference(sdist.name, packed - made, tracked() - left_out)
    for field in ("Author", "Summary", "License-Expression", "Keywords", "Requires-Python"):
        if not told[field]:
            sys.exit(f"{wheel.name}: its metadata lack {field}")
    print("files and metadata: complete")


def refuse_difference(name: str, found: set[str], expected: set[str]) -> None:
    """End where two sets of files differ."""
    if found != expected:
        lacking, more = sorted(expected - found)[:5], sorted(found - expected)[:5]
        sys.exit(f"{name}: lacks {lacking}, and holds {more} besides")


def check_readme(folder: Path) -> None:
    """Render the README as a package index does; tell what is not shown there."""
    page = folder / "readme.html"
    run(sys.executable, "-m", "readme_renderer", HOME / "README.md", "-o", page)
    relative = re.findall(r'(?:src|href)="(?!https?:|#|mailto:)([^"]+)"', page.read_text("utf-8"))
    print(f"README: renders; {len(relative)} links and pictures lead nowhere on a package index")


def fresh_python(folder: Path, wheel: Path, *, borrow: bool) -> Path:
    """Make an environment with the wheel and [train]."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if borrow:
        asked = "import site; print(site.getsitepackages()[0])"
        own = subprocess.check_output([python, "-c", asked], text=True).strip()
        theirs = "\n".join(site.getsitepackages())
        (Path(own) / "borrowed.pth").write_text(f"{theirs}\n", encoding="utf-8")
        run(python, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", wheel)
    else:
        run(python, "-m", "pip", "install", "-q", f"{wheel}[train]")
    print(f"installed into a fresh environment{' with borrowed packages' if borrow else ''}")
    return python


def smoke(python: Path, folder: Path) -> None:
    """Train, evaluate and answer, far from the repository."""
    folder.mkdir()
    (folder / "smoke.py").write_text(SMOKE, encoding="utf-8")
    run(python, "-P", "smoke.py", cwd=folder, OMP_NUM_THREADS="1", PYTHONPATH="")
    print("predict, train, evaluate: work from the wheel")


def test_source(sdist: Path, folder: Path) -> None:
    """Run some of the quick tests in the unpacked source."""
    with tarfile.open(sdist) as files:
        files.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    tests = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "not slow", *QUICK_TESTS]
    run(*tests, cwd=root, PYTHONPATH=str(root / "src"), OMP_NUM_THREADS="1")
    print("the unpacked source passes its quick tests")


if __name__ == "__main__":
    main()
