"""Chunks of data that lie elsewhere: brought when they are read, deleted when room is needed.

All processes of a machine share them. Of those that are here the one that was brought first goes
first, as long as those that stay and the new one exceed what the cache may hold; whoever has a file
open reads on in it.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from nommer.data.cache import show_bytes
from nommer.data.lost import LostError
from nommer.data.parsing import parse_json
from nommer.data.remote_cache import CONTENT, LIMIT, MANIFEST, cache_limit, free_bytes
from nommer.data.remote_files import Remote, RemoteError
from nommer.settings.addresses import address_of

LATER = "chunk"
"""Key of a file in a manifest that is brought only when it is read."""


def bring_chunk(path: Path) -> None:
    """Bring a chunk that is not here.

    Raises:
        FileNotFoundError: it is of no data that lie elsewhere.
        LostError: the server does not give it, gives another one, or there is no room.
    """
    folder = _copy_of(path)
    told, rows = _manifest(folder)
    name = path.relative_to(folder / CONTENT).as_posix().partition("/")[2]
    if name not in rows:
        raise FileNotFoundError(2, "No such file", str(path))
    source, row = f"{told['address']}/{name}", rows[name]
    with FileLock(f"{path}.lock"):
        if path.is_file():
            return
        with FileLock(folder / ".room.lock"):
            _make_room(folder, rows, row["size"], source)
        try:
            _fetch(_remote(address_of(told["address"]), os.getpid()), name, row, path)
        except RemoteError as error:
            raise LostError(source, str(error)) from error
        except OSError as error:
            raise LostError(source, f"cannot be kept in {path}: {error.strerror}") from error


def _fetch(remote: Remote, name: str, row: Mapping[str, Any], path: Path) -> None:
    file = remote.file(name)
    if (file.version, file.size) != (row["version"], row["size"]):
        raise RemoteError("is another one than when the run began; start a new run")
    begun = path.with_name(f".begun.{path.name}.{os.getpid()}")
    try:
        with begun.open("wb") as stream:
            for _, block in remote.blocks(file, 0):
                stream.write(block)
        if begun.stat().st_size != file.size:
            raise RemoteError("ended before it was whole")
        begun.replace(path)
    finally:
        begun.unlink(missing_ok=True)


def _make_room(folder: Path, rows: Mapping[str, Any], size: int, source: str) -> None:
    """Delete the chunks that were brought first, until there is room for one more."""
    root = next((folder / CONTENT).iterdir())
    here = {}
    for name in rows:
        with suppress(FileNotFoundError):
            facts = (root / name).stat()
            here[root / name] = (facts.st_mtime_ns, facts.st_size)
    limit, held = cache_limit(), sum(size for _, size in here.values())
    most = min(limit, held + free_bytes(folder))
    if size > most:
        raise LostError(
            source, f"is {show_bytes(size)}, and there is room for {show_bytes(most)}; set {LIMIT}"
        )
    for path in sorted(here, key=lambda one: here[one][0]):
        if held + size <= most:
            return
        with suppress(OSError):  # Windows: somebody reads it
            path.unlink()
            held -= here[path][1]


def _copy_of(path: Path) -> Path:
    """Return the folder of the copy that a chunk belongs to."""
    for parent in path.parents:
        if parent.name == CONTENT and (parent.parent / MANIFEST).is_file():
            return parent.parent
    raise FileNotFoundError(2, "No such file", str(path))


@lru_cache(maxsize=8)
def _manifest(folder: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    told = parse_json((folder / MANIFEST).read_bytes())
    return told, {row["name"]: row for row in told["files"] if row.get(LATER)}


@lru_cache(maxsize=8)
def _remote(address: str, process: int) -> Remote:
    return Remote(address)


def is_brought_later(name: str, names: set[str]) -> bool:
    """Return True for a chunk among the names of remote files."""
    folder, _, file = name.rpartition("/")
    index = f"{folder}/index.json" if folder else "index.json"
    return file.startswith("chunk-") and file.endswith(".bin") and index in names
