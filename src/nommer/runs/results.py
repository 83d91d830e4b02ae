"""Folders for results.

Made, or emptied where that was asked for, and never one with a training run in it.
"""

import json
import platform
import re
import shlex
import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from nommer.errors import InputError
from nommer.files import real_path, sync_folder, write_json
from nommer.runs.lock import LOCK, check_unlocked, telling_what_cannot_be_made
from nommer.runs.plain import check_plain, read_own
from nommer.settings.addresses import is_address

ENVIRONMENT = "environment.json"
"""Stands in every folder of results, and tells that this package made it."""

_UNFINISHED = re.compile(rf"\.{re.escape(ENVIRONMENT)}\.\d+\.tmp")

CONFIG, CHECKPOINTS = "config.yaml", "checkpoints"
"""Only run folders hold one of these, or both; other folders of results do not."""


def prepare_folder(
    path: Path, *, resume: bool = False, overwrite: bool = False, replaced: Path | None = None
) -> None:
    """Make a folder for results, with an `environment.json`.

    Only with `overwrite` one that holds something is emptied.

    Raises:
        InputError: the folder holds something (unless `resume` or `overwrite`) or a run other than
            `replaced`, is a file, or cannot be made.
    """
    with telling_what_cannot_be_made(path):
        if resume:
            check_plain(path)
        else:
            check_folder(path, overwrite=overwrite, replaced=replaced)
            empty(path)
        path.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent)
        write_json(path / ENVIRONMENT, environment())


def empty(path: Path) -> None:
    """Delete everything in a folder, if there is one, but for a lock and `environment.json`.

    That is replaced later; so a process that is killed here leaves a folder that says whose it is,
    and that may be emptied again.
    """
    for item in path.iterdir() if path.exists() else ():
        if item.name in (LOCK, ENVIRONMENT):
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


def held(path: Path) -> list[Path]:
    """Return the entries of a folder, if there is one.

    But for a lock, and for what a process leaves that is killed before it has made the folder its
    own.
    """
    if not path.exists():
        return []
    return [i for i in path.iterdir() if i.name != LOCK and not _UNFINISHED.fullmatch(i.name)]


def check_folder(
    path: Path, *, overwrite: bool, replaced: Path | None = None, hint: str = ""
) -> None:
    """Refuse a folder that holds something.

    With `overwrite`, only one with a run or that this package did not make.

    Args:
        path: the folder.
        overwrite: whether what it holds may be deleted.
        replaced: the one run that may be deleted, if nobody writes there; where it is `path`, the
            caller has made sure.
        hint: what else to do about a folder that holds something.

    Raises:
        InputError: it may not be used; the message says what to do.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; choose another --out")
    if replaced != path:
        check_unlocked(path if replaced is None else replaced)
    if not held(path):
        return
    for run in runs_in(path):
        if run != replaced:
            raise InputError(
                f"{path}: holds a training run, {run}, which may not be deleted; choose another "
                "--out"
            )
    if not overwrite:
        raise InputError(
            f"{path}: exists and is not empty; choose another --out or use --overwrite{hint}"
        )
    if not is_ours(path):
        raise InputError(
            f"{path}: --overwrite deletes only folders that nommer made, and no {ENVIRONMENT} in "
            "this one says so; "
            "empty it yourself or choose another --out"
        )


def check_outside(path: Path, out: Path) -> None:
    """Refuse to overwrite a folder that holds what is about to be read.

    Raises:
        InputError: `path` lies in `out`.
    """
    if not is_address(path) and real_path(path).is_relative_to(real_path(out)):
        raise InputError(
            f"{path}: lies in {out}, which --overwrite would delete; choose another --out"
        )


def runs_in(path: Path) -> list[Path]:
    """The run folders in a folder of results, itself included.

    None in a folder that this package did not make.
    """
    folders = sorted(file.parent for file in path.rglob(ENVIRONMENT)) if is_ours(path) else []
    return [
        folder
        for folder in folders
        if (folder / CONFIG).is_file() or (folder / CHECKPOINTS).is_dir()
    ]


def is_ours(path: Path) -> bool:
    """Return whether this package made a folder."""
    return "nommer" in read_environment(path).get("packages", {})


def environment() -> dict[str, Any]:
    """The command, when, with which versions, on what machine."""
    return {
        "command": shlex.join(sys.argv),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": versions(),
        "torch_threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


@cache
def versions() -> dict[str, str]:
    """The versions of the packages that results depend on, of those that are installed."""
    found = {}
    for name in ("nommer", "torch", "torchvision", "timm", "lightning", "numpy", "pillow"):
        with suppress(PackageNotFoundError):  # answers need no Lightning
            found[name] = version(name)
    return found


def read_environment(path: Path) -> dict[str, Any]:
    """Read `environment.json` of a folder; nothing where that cannot be read."""
    try:
        return dict(json.loads(read_own(path / ENVIRONMENT)))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
