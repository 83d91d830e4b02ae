"""The run folder: everything that a training run leaves behind, and nothing outside it."""

import shlex
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from nommer.data.formats.labelled import Issue
from nommer.data.parsing import parse_json, parse_yaml
from nommer.errors import InputError, shortened
from nommer.files import to_json, write_json, write_text
from nommer.runs.changes import (
    changed_files,
    changed_settings,
    describe_changes,
    tell_contents,
)
from nommer.runs.lock import check_unlocked
from nommer.runs.plain import check_plain, read_own
from nommer.runs.results import (
    CHECKPOINTS,
    CONFIG,
    check_folder,
    is_ours,
)
from nommer.settings.addresses import written
from nommer.settings.old_names import in_todays_names
from nommer.settings.pretrain import PretrainSettings
from nommer.settings.train import TrainSettings

_FREE_ON_RESUME = frozenset(
    {"resume", "overwrite", "epochs", "workers", "cache", "device", "out"}
    | {"checkpoint_minutes", "time_limit", "loggers", "licence"}
)
"""Settings that may differ when a run is resumed; `epochs` only upwards."""

_OF_A_CALL = ("resume", "overwrite")
"""Settings that are of a call and not of the run."""

_OF_DATA = {"data", "classes", "more_data", "probe"}
"""Settings that may differ too where the contents of all files are known, and the same."""


class RunFolder:
    """Paths of a run folder and the small files in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / CHECKPOINTS
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.model = path / "model"
        self.config = path / CONFIG
        self.split = path / "split.csv"
        self.classes = path / "classes.json"
        self.metrics = path / "metrics.csv"
        self.nominations = path / "nominations.csv"

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse at once what would be refused after the data has been read, which may take long.

        Raises:
            InputError: the folder exists (unless `resume` or `overwrite`) or holds other runs,
                there is nothing to resume, or another run is writing there.
        """
        check_unlocked(self.path)
        if resume and overwrite:
            raise InputError("--resume and --overwrite exclude each other: choose one")
        resumable = self.last.is_file() and self.config.is_file()
        if not resume:
            hint = ", or --resume to go on with a run" if resumable else ""
            check_folder(self.path, overwrite=overwrite, replaced=self.path, hint=hint)
        elif not resumable:
            missing = self.config if self.last.is_file() else self.last
            how = (
                "start again with --overwrite, without --resume"
                if is_ours(self.path)
                else "drop --resume to start"
            )
            raise InputError(f"{self.path}: nothing to resume, {missing} does not exist; {how}")
        else:
            check_plain(self.path)

    def write_config(self, settings: TrainSettings) -> None:
        """Write all settings, resolved, so that `--config` repeats the run."""
        written = {name: value for name, value in plain(settings).items() if name not in _OF_A_CALL}
        write_text(self.config, yaml.safe_dump(written, sort_keys=False, allow_unicode=True))

    def settings(self) -> TrainSettings | None:
        """Return the settings of the run, resolved; None where there is no run.

        Raises:
            InputError: the file is no longer what was written.
        """
        if not self.path.is_dir():  # a file of weights is a model too
            return None
        try:
            text = self._read(self.config)
            written = None if text is None else parse_yaml(text, yaml.SafeLoader)
        except (yaml.YAMLError, ValueError) as error:
            reason = shortened(str(error), 300)
            raise InputError(f"{self.config}: cannot be read as YAML: {reason}") from error
        if text is None:
            return None
        if not isinstance(written, dict):
            raise InputError(f"{self.config}: holds no settings of a run")
        try:
            kind = PretrainSettings if "probe" in written else TrainSettings
            settings: TrainSettings = kind.from_mapping(in_todays_names(written))
        except InputError as error:
            raise InputError(f"{self.config}: {error}") from error
        return settings

    def check_resumable(
        self, settings: TrainSettings, split: str, classes: Mapping[str, Any]
    ) -> None:
        """Refuse to go on with other settings, or other files, than the run was started with.

        Raises:
            InputError: the settings that differ, each with both values; or the files that do.
        """
        started = self.settings() or settings
        self._check_command(started, settings)
        before = self._read(self.split) or ""
        changes = changed_files(before, split)
        if changes:
            shown = describe_changes(changes)
            raise InputError(
                f"{self.path}: cannot resume, the data has changed: {shown}; start a new run"
            )
        self._check_classes(classes)
        self.check_settings(settings, also_free=_OF_DATA if tell_contents(before, split) else set())

    def _check_command(self, started: TrainSettings, settings: TrainSettings) -> None:
        if started.command != settings.command:
            raise InputError(
                f"{self.path}: is a run of nommer {started.command}; go on with it by "
                f"{self.resume_command}"
            )

    def check_settings(
        self, settings: TrainSettings, *, also_free: AbstractSet[str] = frozenset()
    ) -> None:
        """Refuse to go on with other settings than the run was started with.

        Args:
            settings: now.
            also_free: more names of settings that may differ.

        Raises:
            InputError: the settings that differ, each with both values.
        """
        started, free = self.settings() or settings, _FREE_ON_RESUME | also_free
        fixed = {name: value for name, value in plain(settings).items() if name not in free}
        differing = list(changed_settings(plain(started), fixed))
        if settings.epochs < started.epochs:
            differing.append(f"epochs: the run has {started.epochs}, now {settings.epochs}")
        if differing:
            raise InputError(
                f"{self.path}: cannot resume with other settings ({'; '.join(differing)}); resume "
                "with "
                f"{self.resume_options}, or start a new run"
            )

    @property
    def resume_options(self) -> str:
        """The options that resume the run, behind `nommer` and its verb."""
        return (
            f"--config {shlex.quote(str(self.config))} --out {shlex.quote(str(self.path))} --resume"
        )

    @property
    def resume_command(self) -> str:
        """The command that resumes the run."""
        started = self.settings()
        return f"nommer {started.command if started else 'train'} {self.resume_options}"

    def _check_classes(self, classes: Mapping[str, Any]) -> None:
        learned = self.read_json(self.classes)
        for key, value in plain(classes).items():
            if key in learned and learned[key] != value:
                raise InputError(
                    f"{self.path}: cannot resume, the {key} of the data have changed: the run has "
                    f"{learned[key]}, "
                    f"now {value}; start a new run"
                )

    def _read(self, path: Path) -> str | None:
        """Return the text of one of the run's small files; None where there is none."""
        try:
            return read_own(path).decode("utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = error.strerror or "no plain file"
            raise InputError(f"{path}: cannot be read: {reason}; put back a copy") from error

    def read_json(self, path: Path) -> dict[str, Any]:
        """Return the named values in one of the run's small files; none where there is no file.

        Raises:
            InputError: it is damaged.
        """
        try:
            values = parse_json(self._read(path) or "{}")
        except ValueError as error:
            raise _damaged(path, error) from error
        if not isinstance(values, dict):
            raise _damaged(path, "it holds no named values")
        return values

    def sweep(self) -> None:
        """Remove what a process that was killed had not yet put in place."""
        for file in self.path.rglob(".*.tmp"):
            file.unlink(missing_ok=True)

    def write_classes(self, classes: Mapping[str, Any]) -> None:
        """Write the meaning of the labels, as a task's `describe_classes` puts it."""
        write_json(self.classes, plain(classes))

    def write_split(self, split: str) -> None:
        """Write which file is used for what, as `split_as_csv` puts it."""
        write_text(self.split, split)

    def read_issues(self) -> list[Issue]:
        """Read the issues that `write_issues` wrote; none where there is no such file."""
        file = self.path / "data_issues.jsonl"
        # split at nothing else, for names may hold other separators of lines
        lines = (self._read(file) or "").split("\n")
        try:
            return [Issue(**parse_json(line)) for line in lines if line]
        except (TypeError, ValueError) as error:
            raise _damaged(file, error) from error

    def write_issues(self, issues: Iterable[Issue]) -> None:
        """Write one line per thing found in the data, with the whole path of its file."""
        lines = (
            to_json(asdict(issue) | {"file": str(Path(issue.file).absolute())}) for issue in issues
        )
        write_text(self.path / "data_issues.jsonl", "".join(f"{line}\n" for line in lines))


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(
        f"{path}: is damaged ({shortened(str(reason), 200)}); put back a copy, or start a new run"
    )


def run_of(model: Path) -> RunFolder:
    """The run folder that `model` is, or whose `model/` it is.

    Where there is none, it has no config.
    """
    return RunFolder(
        model.parent
        if model.name == "model" and (model.parent / "config.yaml").is_file()
        else model
    )


def plain(value: Any) -> Any:
    """Settings as plain YAML values: dataclasses as mappings, paths as text, tuples as lists."""
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return written(value) if isinstance(value, Path) else value
