"""A process that has the core's packages alone: `python tests/slim.py train explain -- SCRIPT ...`.

Whatever pyproject.toml does not bring with the core, with the extras named and with what those
need, cannot be found, as where it is not installed; then the script is run. `--sizes` tells what
each extra brings.
"""

import runpy
import sys
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from importlib.metadata import (
    PackageNotFoundError,
    distribution,
    packages_distributions,
    requires,
)
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = ("all", "dev", "docs", "release")
"""Extras that are not for users, or hold others."""

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def project() -> dict:
    """Return the table of the project in pyproject.toml."""
    return tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]


def required(extras: Iterable[str] = ()) -> list[Requirement]:
    """Return what pyproject.toml asks for, with these extras."""
    told = project()
    found = [Requirement(line) for line in told["dependencies"]]
    for extra in extras:
        found += [Requirement(line) for line in told["optional-dependencies"][extra]]
    return found


def brought(extras: Iterable[str] = ()) -> set[str]:
    """Return the names of all distributions that the core and these extras bring."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = required(extras)
    while waiting:
        one = waiting.pop()
        asked = (canonicalize_name(one.name), frozenset(one.extras))
        if asked in found:
            continue
        found.add(asked)
        try:
            below = [Requirement(line) for line in requires(one.name) or ()]
        except PackageNotFoundError:  # of another system
            continue
        known = [{"extra": extra} for extra in (one.extras or {""})]
        waiting += [b for b in below if not b.marker or any(map(b.marker.evaluate, known))]
    return {name for name, _ in found}


class Absent(MetaPathFinder):
    """Finds nothing but packages of the distributions that are there, and all that is in none."""

    def __init__(self, there: set[str]) -> None:
        self.there = there
        self.owners = packages_distributions()

    def find_spec(self, name, path, target=None):
        """Return what is there, in the place of `PathFinder`."""
        owners = self.owners.get(name.partition(".")[0])
        if owners and self.there.isdisjoint(map(canonicalize_name, owners)):
            return None
        return PathFinder.find_spec(name, path, target)

    def find_distributions(self, *context):
        """Yield the distributions that are there."""
        for found in PathFinder.find_distributions(*context):
            if canonicalize_name(found.name) in self.there:
                yield found


def leave(extras: Iterable[str] = ()) -> None:
    """Let only the packages be found that the core and these extras bring."""
    there = brought(extras) | {"nommer"}
    sys.meta_path[:] = [Absent(there) if f is PathFinder else f for f in sys.meta_path]


def megabytes(names):
    """Return the size of the installed files of distributions, without byte code."""
    total = 0
    for name in names:
        with suppress(PackageNotFoundError):
            places = [file.locate() for file in distribution(name).files or ()]
            total += sum(p.stat().st_size for p in places if p.is_file() and p.suffix != ".pyc")
    return total / 1e6


def print_sizes():
    """Print packages and megabytes of the core, and what each extra adds."""
    core = brought()
    print(f"core: {len(core)} packages, {megabytes(core):,.0f} MB")
    extras = [name for name in project()["optional-dependencies"] if name not in OURS]
    for extra in extras:
        more = brought([extra]) - core
        print(f"{extra}: {len(more)} more, {megabytes(more):,.0f} MB")
    everything = brought(extras)
    print(f"all: {len(everything)} packages, {megabytes(everything):,.0f} MB")


if __name__ == "__main__":
    if sys.argv[1:] == ["--sizes"]:
        print_sizes()
        sys.exit()
    cut = sys.argv.index("--")
    leave(sys.argv[1:cut])
    sys.argv[:] = sys.argv[cut + 1 :]
    runpy.run_path(sys.argv[0], run_name="__main__")
