"""Copies of data that lie elsewhere: in one folder, whole or not at all, and not without bound.

`CACHE/NAME-KEY/` is a copy of one address in one version: `manifest.json` tells address, version
and every file with size and SHA-256, `content/` holds them. The folder is called `NAME-KEY.part`
until all of it is there; what was begun goes on from there. Copies never change, so a run keeps
reading the files that it began with; people delete what they no longer want.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nommer.data.cache import show_bytes
from nommer.data.parsing import parse_json
from nommer.errors import InputError

FOLDER, LIMIT = "NOMMER_CACHE", "NOMMER_CACHE_LIMIT"
"""Variables of the environment: the folder of copies, and how much they may take, such as 200GB."""

_DEFAULT_LIMIT = "100GB"
_MARGIN = 0.9
"""Share of the free disk that copies may fill."""

_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}

MANIFEST, CONTENT = "manifest.json", "content"


def cache_folder() -> Path:
    """Return the folder of copies, which may not be there yet."""
    if told := os.environ.get(FOLDER):
        return Path(told).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "nommer"


def cache_limit() -> int:
    """Return how many bytes all copies together may take.

    Raises:
        InputError: the variable of the environment is no such number.
    """
    told = os.environ.get(LIMIT) or _DEFAULT_LIMIT
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(MB|GB|TB)\s*", told, re.I)
    if found is None:
        raise InputError(f"{LIMIT}: is {told!r}; expected a size such as 500MB, 100GB or 2TB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


@dataclass(frozen=True)
class Copy:
    """A copy of one address in one version, there or not yet."""

    address: str
    """Without its query."""
    version: str

    @property
    def folder(self) -> Path:
        """Return the folder of the copy."""
        key = hashlib.sha256(f"{self.address}\n{self.version}".encode()).hexdigest()[:16]
        return cache_folder() / f"{re.sub(r'[^A-Za-z0-9._-]', '_', self.name)[-60:]}-{key}"

    @property
    def partial(self) -> Path:
        """Return the folder while the copy is not whole."""
        return self.folder.with_name(f"{self.folder.name}.part")

    @property
    def name(self) -> str:
        """Return the last part of the address, which the copy is called by."""
        return self.address.rpartition("/")[2]

    @property
    def root(self) -> Path:
        """Return the file or folder that stands for the address."""
        return self.folder / CONTENT / self.name

    def manifest(self) -> Mapping[str, Any] | None:
        """Return what the copy holds; None where it is not there.

        Raises:
            InputError: files of it were changed or taken away.
        """
        file = self.folder / MANIFEST
        try:
            told: Mapping[str, Any] = parse_json(file.read_bytes())
            kept = [one for one in told["files"] if not one.get("chunk")]
            sizes = {one["name"]: one["size"] for one in kept}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(file) from error
        for name, size in sizes.items():
            path = self.root / name if name else self.root
            if not path.is_file() or path.stat().st_size != size:
                raise self._damaged(path)
        return told

    def _damaged(self, file: Path) -> InputError:
        return InputError(
            f"{file}: is not as it was brought from {self.address}; delete {self.folder}, and it "
            "is brought again"
        )


def check_room(copy: Copy, total: int) -> None:
    """Refuse a copy that is larger than what the cache may hold, or than the disk has room for.

    Args:
        copy: what is to be brought.
        total: its bytes.

    Raises:
        InputError: how much it is, how much there is room for, and what to do.
    """
    cache = cache_folder()
    limit, begun = cache_limit(), _bytes_in(copy.partial)
    others = _bytes_in(cache) - begun
    if total + others > limit:
        raise InputError(
            f"{copy.address}: is {show_bytes(total)}, and copies in {cache} take "
            f"{show_bytes(others)}, over their limit of {show_bytes(limit)}; delete some, or set "
            f"{LIMIT} (as in {LIMIT}=500GB)"
        )
    free = shutil.disk_usage(cache).free
    if total - begun > _MARGIN * free:
        raise InputError(
            f"{copy.address}: {show_bytes(total - begun)} are still to be brought, and "
            f"{show_bytes(free)} are free in {cache}; make room, or set {FOLDER} to a folder of "
            "another disk"
        )


def free_bytes(folder: Path) -> int:
    """Return the bytes of the disk of a folder that copies may still fill."""
    return int(_MARGIN * shutil.disk_usage(folder).free)


def _bytes_in(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    found = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return sum(path.stat().st_size for path in found if path.is_file())
