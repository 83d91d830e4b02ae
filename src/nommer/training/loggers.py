"""Loggers of a run besides `metrics.csv`: TensorBoard always, others if asked for."""

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from nommer.errors import InputError
from nommer.files import write_json
from nommer.runs.folder import RunFolder
from nommer.settings.choices import LoggerName


def check_loggers(names: tuple[LoggerName, ...]) -> None:
    """Refuse what is not installed.

    Raises:
        InputError: the first that is not.
    """
    for name in names:
        try:
            version(name)
        except PackageNotFoundError as error:
            raise InputError(
                f"--loggers {name}: is not installed; install it (pip install {name}) or leave it "
                "out"
            ) from error


def make_loggers(
    names: tuple[LoggerName, ...], run: RunFolder, *, settings: dict[str, Any], first: bool
) -> list[Logger]:
    """The loggers of a run, which keep their files in its folder.

    A run that goes on goes on in them too.

    W&B takes its account, project and mode from its own environment variables, MLflow its server;
    without one MLflow writes to `mlflow.db`. MLflow's telemetry stays off unless
    `MLFLOW_DISABLE_TELEMETRY` says otherwise.

    Args:
        names: those besides TensorBoard's.
        run: the run folder.
        settings: those of the run, for the others to show.
        first: this process is the first of the run, which writes.

    Raises:
        InputError: one lacks something that it needs.
    """
    loggers: list[Logger] = [TensorBoardLogger(run.path, name="", version="tensorboard")]
    file = run.path / "loggers.json"
    known = run.read_json(file)
    for name in names:
        try:
            logger = _make(name, run, known.get(name))
        except ModuleNotFoundError as error:
            raise InputError(f"--loggers {name}: cannot be used: {error}") from error
        if name not in known:  # MLflow keeps what a run was started with
            logger.log_hyperparams(settings)
        known[name] = logger.version if isinstance(logger, WandbLogger) else logger.run_id
        loggers.append(logger)
    if names and first:
        write_json(file, known)
    return loggers


def _make(name: LoggerName, run: RunFolder, identity: str | None) -> WandbLogger | MLFlowLogger:
    """One logger, of a run that it knows already by `identity` or of a new one."""
    if name == "wandb":
        project = os.environ.get("WANDB_PROJECT", "nommer")
        return WandbLogger(
            name=run.path.name, save_dir=run.path, id=identity, project=project, resume="allow"
        )
    os.environ.setdefault(
        "MLFLOW_DISABLE_TELEMETRY", "true"
    )  # read as it is imported, which it is below
    server = (
        os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.path.absolute() / 'mlflow.db'}"
    )
    return MLFlowLogger("nommer", run_name=run.path.name, tracking_uri=server, run_id=identity)
