"""The callbacks that help a training along, as its settings say."""

import lightning as L

from nommer.engine.run import RunFolder
from nommer.engine.settings import TrainSettings
from nommer.engine.task import Task
from nommer.engine.training.cooling import Cooling
from nommer.engine.training.freezing import FrozenLayers
from nommer.engine.training.guard import FiniteSteps
from nommer.engine.training.patience import Patience
from nommer.engine.training.time_limit import TimeLimit


def aiding(
    settings: TrainSettings, run: RunFolder, task: type[Task], limit: TimeLimit
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
