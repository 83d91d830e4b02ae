"""The files below a folder on disk, each real folder visited once, whatever links lead to it."""

import fnmatch
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path

from nommer.files import is_dir, real_path

_MAGIC = re.compile(r"[*?[]")


_SYSTEM_FOLDERS = (
    "@eadir",  # thumbnails of Synology
    "#recycle",  # Synology
    "@recycle",  # QNAP
    ".@__thumb",  # thumbnails of QNAP
    "__macosx",  # resource forks in zips of macOS
    ".ipynb_checkpoints",
    ".thumbnails",
    ".trash",
    "$recycle.bin",
    "system volume information",
    "lost+found",
)


def is_system_folder(name: str) -> bool:
    """Tell if a folder is called as systems call those of their own, in whatever case."""
    return name.lower() in _SYSTEM_FOLDERS


def is_passed_over(name: str) -> bool:
    """Tell if a folder or file is no part of any data: hidden, or a system's."""
    return name.startswith(".") or is_system_folder(name)


def walk(folder: Path, onerror: Callable[[OSError], object]) -> Iterator[Path]:
    """Yield everything visible below a folder that is no folder to be searched.

    Real folders come before links, so that a file is found by its own path; a folder that only
    links lead to is searched by the first of them. Folders that nothing is in are found too, for
    one may be called like an image.
    """
    seen: set[tuple[int, int]] = set()
    waiting = deque([str(folder)])
    links: deque[str] = deque()
    while waiting or links:
        place = waiting.popleft() if waiting else links.popleft()
        try:
            facts = os.stat(place)  # noqa: PTH116 - of very many
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(place) as found:
                entries = sorted(
                    (entry for entry in found if not is_passed_over(entry.name)),
                    key=lambda e: e.name,
                )
        except OSError as error:
            onerror(error)
            continue
        if not entries and place != str(folder):
            yield Path(place)
        for entry in entries:
            if not is_folder_entry(entry):
                yield Path(entry.path)
            elif not entry.is_symlink():
                waiting.append(entry.path)
            elif not _leads_back(Path(entry.path)):
                links.append(entry.path)


def _leads_back(link: Path) -> bool:
    """Return True for a link to a folder that holds it, wherever links on the way there lead."""
    target = real_path(link)
    return any(real_path(folder).is_relative_to(target) for folder in link.parents)


def is_folder_entry(entry: "os.DirEntry[str]") -> bool:
    """Return True for a folder, or a link to one; False for a link that leads nowhere."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def expand(pattern: str, onerror: Callable[[OSError], object]) -> list[Path]:
    """The visible paths that a glob pattern matches, sorted; `**` stands for any folders."""
    parts = Path(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if _MAGIC.search(part))
    base = Path(*parts[:fixed]) if fixed else Path()
    wanted = parts[fixed:]
    if "**" not in wanted:
        # glob, unlike Path.glob, takes absolute patterns too, and leaves out hidden files
        return sorted(map(Path, glob(pattern)))  # noqa: PTH207
    if not is_dir(base):
        return []
    found = (path.relative_to(base).parts for path in walk(base, onerror))
    return sorted(base.joinpath(*path) for path in found if _matches(path, wanted))


def _matches(path: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if not wanted:
        return not path
    if wanted[0] == "**":
        return any(_matches(path[start:], wanted[1:]) for start in range(len(path) + 1))
    return bool(path) and fnmatch.fnmatchcase(path[0], wanted[0]) and _matches(path[1:], wanted[1:])
