"""A process that has the core's packages alone: `python tests/slim.py train explain -- SCRIPT ...`.

Whatever pyproject.toml does not bring with the core, with the extras named and with what those
need, cannot be found, as where it is not installed; then the script is run.
"""

import runpy
import sys
import tomllib
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def required(extras: Iterable[str] = ()) -> list[Requirement]:
    """Return what pyproject.toml asks for, with these extras."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    found = [Requirement(line) for line in project["dependencies"]]
    for extra in extras:
        found += [Requirement(line) for line in project["optional-dependencies"][extra]]
    return found


def brought(extras: Iterable[str] = ()) -> set[str]:
    """Return the names of all distributions that the core and these extras bring."""
    found: set[str] = set()
    waiting = required(extras)
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in found:
            continue
        found.add(name)
        try:
            below = [Requirement(line) for line in requires(one.name) or ()]
        except PackageNotFoundError:  # of another system
            continue
        asked = [{"extra": name} for name in (one.extras or {""})]
        waiting += [b for b in below if not b.marker or any(map(b.marker.evaluate, asked))]
    return found


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


if __name__ == "__main__":
    cut = sys.argv.index("--")
    leave(sys.argv[1:cut])
    sys.argv[:] = sys.argv[cut + 1 :]
    runpy.run_path(sys.argv[0], run_name="__main__")
