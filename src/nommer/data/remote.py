"""Data that lie elsewhere are brought once into a cache, and read there as any other data.

Every epoch reads every image, the audit reads all of them before, and a resumed run has to find
each unchanged: one copy serves all of that, is checked once, and cannot change underneath. Reading
a zip member by member over a network would ask a server for each image in each epoch, and depend on
it until the end.

Nothing is brought but what was named, and nothing in its place: a server that does not answer is an
error, also where an older copy lies here, unless that very version was asked for.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock

from filelock import FileLock

from nommer.checksums import checksum
from nommer.data.archives import is_archive_name
from nommer.data.cache import show_bytes
from nommer.data.image_paths import is_image_name
from nommer.data.remote_cache import CONTENT, MANIFEST, Copy, cache_folder, check_room
from nommer.data.remote_chunks import LATER, is_brought_later
from nommer.data.remote_files import Remote, RemoteError, RemoteFile
from nommer.errors import InputError
from nommer.files import write_json
from nommer.progress import notice
from nommer.settings.addresses import (
    address_of,
    is_address,
    pinned,
    refuse_other,
    version_in,
    without_query,
    written,
)

_READERS = 8
"""Files that are brought at a time."""

_MUCH = 100_000_000
"""Bytes from which on it is told how far it is."""

_BEGUN = ".begun."
"""Before the name of a file that is not whole yet; hidden names are not brought."""


def local(place: Path) -> Path:
    """Return where data lie on this machine: `place` itself, or the copy of an address.

    A copy of the version that the address is pinned to is used without asking any server.

    Raises:
        InputError: what `bring` raises.
    """
    if not is_address(place):
        refuse_other(place)
        return place
    return where(place) if has_copy(place) else bring(place).root


def has_copy(place: Path) -> bool:
    """Return True for an address that is pinned to a version of which a whole copy is here."""
    version = version_in(place)
    return version is not None and _copy(place, version).manifest() is not None


def where(place: Path) -> Path:
    """Return where data lie, or would, without asking any server, for comparing places."""
    version = version_in(place) if is_address(place) else None
    return _copy(place, version).root if version else place


def _copy(place: Path, version: str) -> Copy:
    return Copy(without_query(address_of(place)), version)


def bring(place: Path, wanted: str | None = None) -> Copy:
    """Ask for what lies behind an address, and bring it unless a copy of that version is here.

    Args:
        place: an address, maybe pinned to a version.
        wanted: the version that it has to be of; by default that which it is pinned to.

    Raises:
        InputError: a package is missing, the server refuses or does not answer, there is no room,
            or the address is pinned to another version than there is now.
    """
    address, wanted = address_of(place), wanted or version_in(place)
    shown = without_query(address)
    remote = Remote(address)
    try:
        files = remote.files()
    except RemoteError as error:
        return _without_answer(shown, wanted, error)
    _check_kind(shown, files)
    copy = Copy(shown, version_of(files))
    if wanted not in (None, copy.version):
        raise InputError(
            f"{shown}: has changed: it is of version {copy.version} now, and {wanted} is asked "
            f"for; give {shown} for what is there now, in a new run"
        )
    told = f"{shown}: {_count(files)}, version {copy.version}"
    if copy.manifest() is not None:
        notice(f"{told}; the copy in {copy.folder} is used, nothing is fetched")
        return copy
    try:
        _copy_all(remote, files, copy, told)
    except RemoteError as error:
        raise InputError(f"{shown}: {error}; {_kept(copy)}") from error
    except OSError as error:
        raise InputError(f"{shown}: cannot be kept in {copy.partial}: {error.strerror}") from error
    return copy


def version_of(files: Sequence[RemoteFile]) -> str:
    """Return what tells files from any others: the ETag of a single one, else a hash of the list.

    Sizes alone where a server tells nothing more.
    """
    alone = files[0].version if len(files) == 1 and not files[0].name else ""
    if re.fullmatch(r"[A-Za-z0-9._-]{6,70}", alone):
        return alone
    listed = json.dumps([[one.name, one.size, one.version] for one in files])
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def _without_answer(shown: str, wanted: str | None, error: RemoteError) -> Copy:
    """Return the copy of the version that was asked for, where no server could be asked.

    Raises:
        InputError: the server did answer, or there is no such copy.
    """
    if error.unreachable and wanted is not None:
        copy = Copy(shown, wanted)
        if copy.manifest() is not None:
            notice(f"{shown}: {error}; the copy of version {wanted} in {copy.folder} is used")
            return copy
    older = _copies_of(shown) if error.unreachable else []
    hint = f"; {written(pinned(shown, older[-1]))} means the copy that is here" if older else ""
    raise InputError(f"{shown}: {error}{hint}") from error


def _copies_of(shown: str) -> list[str]:
    """Return the versions of an address whose copies are here, the oldest first."""
    found = []
    for file in cache_folder().glob(f"*/{MANIFEST}"):
        told = json.loads(file.read_bytes())
        if told.get("address") == shown:
            found.append((told.get("brought", ""), told["version"]))
    return [version for _, version in sorted(found)]


def _check_kind(shown: str, files: Sequence[RemoteFile]) -> None:
    """Refuse a single file that is neither an archive nor an image."""
    alone = len(files) == 1 and not files[0].name
    if alone and not (is_archive_name(Path(shown)) or is_image_name(Path(shown))):
        what = "a web page or a file" if shown.startswith("https:") else "a single file"
        raise InputError(
            f"{shown}: is {what} that is no archive; expected a .zip or .tar, or a folder on "
            "hf://, s3:// or gs:// (a table of labels is brought with the folder that holds it)"
        )


class _Progress:
    """Tells how much of many bytes is here, at every tenth."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._lock = total, 0, Lock()

    def add(self, size: int) -> None:
        """Count so many bytes more."""
        with self._lock:
            before, self._done = self._done, self._done + size
            tenth = self._done * 10 // self._total
            if self._total >= _MUCH and tenth > before * 10 // self._total:
                notice(f"bringing: {show_bytes(self._done)} of {show_bytes(self._total)}")


@dataclass(frozen=True)
class _Fetching:
    """Files on their way into a folder."""

    remote: Remote
    root: Path
    """Place of the file or folder in the copy that is being made."""
    progress: "_Progress"
    stop: Event

    def fetch(self, file: RemoteFile) -> dict[str, object]:
        """Bring one file, from where it was left, and tell what it is.

        Raises:
            RemoteError: it ends early, or is another one than the server says.
        """
        path = self.root / file.name if file.name else self.root
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.is_file() and path.stat().st_size == file.size):
            begun = path.with_name(f"{_BEGUN}{path.name}"[:255])
            self._write(file, begun)
            if begun.stat().st_size != file.size:
                raise RemoteError("it ended before it was whole")
            begun.replace(path)
        found = checksum(path)
        if file.sha256 not in (None, found):
            path.unlink()
            raise RemoteError(f"{file.name or 'it'} arrived damaged: SHA-256 {found}")
        return {"name": file.name, "size": file.size, "version": file.version, "sha256": found}

    def _write(self, file: RemoteFile, begun: Path) -> None:
        with begun.open("ab") as stream:
            for place, block in self.remote.blocks(file, min(stream.tell(), file.size)):
                if stream.tell() != place:  # the server began anew
                    stream.truncate(place)
                    stream.seek(place)
                stream.write(block)
                self.progress.add(len(block))
                if self.stop.is_set():
                    return
            stream.flush()
            os.fsync(stream.fileno())


def _copy_all(remote: Remote, files: Sequence[RemoteFile], copy: Copy, told: str) -> None:
    """Bring all files, see that they did not change meanwhile, and only then let them be a copy."""
    copy.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{copy.folder}.lock"):
        if copy.manifest() is not None:  # another process was first
            return
        names = {file.name for file in files}
        later = [file for file in files if is_brought_later(file.name, names)]
        now = [file for file in files if file not in later]
        total = sum(file.size for file in now)
        check_room(copy, total)
        limit = f"; {_count(later)} of them in chunks, each when it is read" if later else ""
        notice(f"{told}{limit}; brought into {copy.folder}")
        rows = _fetch_all(remote, now, copy.partial / CONTENT / copy.name)
        rows += [{"name": f.name, "size": f.size, "version": f.version, LATER: True} for f in later]
        if version_of(remote.files()) != copy.version:
            shutil.rmtree(copy.partial)
            raise RemoteError("it was changed while it was brought, so nothing of it is used")
        facts = {"address": copy.address, "version": copy.version, "bytes": total}
        brought = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(copy.partial / MANIFEST, {**facts, "brought": brought, "files": rows})
        copy.partial.replace(copy.folder)


def _fetch_all(remote: Remote, files: Sequence[RemoteFile], root: Path) -> list[dict[str, object]]:
    stop = Event()
    fetching = _Fetching(remote, root, _Progress(sum(file.size for file in files)), stop)
    with ThreadPoolExecutor(_READERS) as pool:
        jobs = [pool.submit(fetching.fetch, file) for file in files]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [job.result() for job in jobs]


def _count(files: Sequence[RemoteFile]) -> str:
    total = show_bytes(sum(file.size for file in files))
    return f"{len(files):,} files, {total}" if len(files) > 1 else f"1 file, {total}"


def _kept(copy: Copy) -> str:
    """Tell what becomes of what was brought, and what to do."""
    if not copy.partial.is_dir():
        return "run it again"
    return f"what was brought is kept in {copy.partial}, and the same command goes on from there"
