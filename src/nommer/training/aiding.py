"""The callbacks that help a training along, as its settings say."""

import lightning as L

from nommer.runs.folder import RunFolder
from nommer.settings.training import TrainSettings
from nommer.tasks.module import TaskModule
from nommer.training.annealing import Cooling
from nommer.training.early_stopping import Patience
from nommer.training.freezing import FrozenLayers
from nommer.training.guard import FiniteSteps
from nommer.training.time_limit import TimeLimit


def aiding(
    settings: TrainSettings, run: RunFolder, task: type[TaskModule], limit: TimeLimit
) -> list[L.Callback]:
    """The guard that every run has, and what was asked for besides averaging."""
    aids, helpers = (
        settings.aids,
        list[L.Callback]([FiniteSteps(run, scaled=settings.precision == "16")]),
    )
    if settings.network.cools:
        helpers.append(Cooling(settings.network))
    if aids.freeze:
        helpers.append(FrozenLayers())
    if aids.patience is not None:
        helpers.append(
            Patience(f"val_{task.measure}", patience=aids.patience, min_delta=aids.min_delta)
        )
    return [*helpers, limit]
