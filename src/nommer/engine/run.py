"""The run folder: everything that a training run leaves behind, and nothing outside it."""

import json
import platform
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from nommer.data.formats.folders import Issue
from nommer.errors import InputError
from nommer.files import write_json, write_text

_FREE_ON_RESUME = frozenset({"resume", "overwrite", "epochs", "workers", "device", "devices", "out"})
"""Settings that may differ when a run is resumed; `epochs` only upwards."""


class RunFolder:
    """Paths of a run folder and the small files in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.model = path / "model"
        self.config = path / "config.yaml"
        self.split = path / "split.csv"
        self.metrics = path / "metrics.csv"
        self.nominations = path / "nominations.csv"

    def open(self, *, resume: bool, overwrite: bool) -> None:
        """Make the folder.

        Raises:
            InputError: it exists (unless `resume` or `overwrite`), cannot be written, or there is nothing to resume.
        """
        if resume and overwrite:
            raise InputError("--resume and --overwrite exclude each other: choose one")
        if resume and not (self.last.is_file() and self.config.is_file()):
            raise InputError(f"{self.path}: nothing to resume, {self.last} does not exist")
        prepare_folder(self.path, allow_existing=resume, overwrite=overwrite)

    def write_config(self, settings: Mapping[str, Any]) -> None:
        """Write all settings, resolved, so that `--config` repeats the run."""
        write_text(self.config, yaml.safe_dump(plain(settings), sort_keys=False, allow_unicode=True))

    def check_resumable(self, settings: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings than the run was started with.

        Raises:
            InputError: the settings that differ, each with both values.
        """
        started = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        wanted = plain(settings)
        differing = [k for k in wanted if k not in _FREE_ON_RESUME and wanted[k] != started.get(k)]
        if wanted["epochs"] < started["epochs"]:
            differing.append("epochs")
        if differing:
            shown = "; ".join(f"{key}: the run has {started.get(key)}, now {wanted[key]}" for key in differing)
            raise InputError(
                f"{self.path}: cannot resume with other settings ({shown}); drop these options or start a new run"
            )

    def write_environment(self, command: str) -> None:
        """Write versions, machine and command."""
        packages = ("nommer", "torch", "torchvision", "timm", "lightning", "numpy", "pillow")
        write_json(
            self.path / "environment.json",
            {
                "command": command,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "python": sys.version.split()[0],
                "platform": platform.platform(),
                "packages": {name: version(name) for name in packages},
                "torch_threads": torch.get_num_threads(),
                "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            },
        )

    def write_issues(self, issues: Iterable[Issue]) -> None:
        """Write one line per thing found in the data."""
        lines = (json.dumps(asdict(issue), ensure_ascii=False) for issue in issues)
        write_text(self.path / "data_issues.jsonl", "".join(f"{line}\n" for line in lines))


def prepare_folder(path: Path, *, allow_existing: bool = False, overwrite: bool = False) -> None:
    """Make a folder for results; only with `overwrite` is one that holds something emptied.

    Raises:
        InputError: the folder holds something, is a file, or cannot be made.
    """
    try:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is a file; choose another --out")
        if path.is_dir() and any(path.iterdir()) and not allow_existing:
            if not overwrite:
                raise InputError(
                    f"{path}: exists and is not empty; choose another --out, or use --resume or --overwrite"
                )
            _check_is_ours(path)
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made: {error.strerror}; choose another --out") from error


def _check_is_ours(path: Path) -> None:
    """Never delete a folder that this package did not write."""
    if not any((path / name).is_file() for name in ("config.yaml", "result.json")):
        raise InputError(
            f"{path}: --overwrite deletes only folders that nommer made, and this one holds no config.yaml "
            "or result.json; empty it yourself or choose another --out"
        )


def results_folder(model: Path, verb: str, out: Path | None, *, overwrite: bool) -> Path:
    """The folder for results of `verb`: `out`, or a new one `<verb>`, `<verb>-2`, ... in the run folder.

    For a model that is not in a run folder, the new one is made in the current folder.
    """
    if out is not None:
        prepare_folder(out, overwrite=overwrite)
        return out
    base = model if (model / "config.yaml").is_file() else Path()
    candidate, number = base / verb, 2
    while candidate.exists():
        candidate, number = base / f"{verb}-{number}", number + 1
    prepare_folder(candidate)
    return candidate


def plain(value: Any) -> Any:
    """Settings as plain YAML values: dataclasses as mappings, paths as text, tuples as lists."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
