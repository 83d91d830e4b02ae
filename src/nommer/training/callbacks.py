"""The callbacks of the options of a training."""

import lightning as L

from nommer.runs.folder import RunFolder
from nommer.settings.train import TrainSettings
from nommer.tasks.module import TaskModule
from nommer.training.annealing import Annealing
from nommer.training.early_stopping import RememberedEarlyStopping
from nommer.training.freezing import FrozenLayers
from nommer.training.nan_guard import NaNGuard
from nommer.training.time_limit import TimeLimit


def callbacks_of_options(
    settings: TrainSettings, run: RunFolder, task: type[TaskModule], limit: TimeLimit
) -> list[L.Callback]:
    """Return the NaN guard, which every run has, and the callbacks that were asked for."""
    helpers = list[L.Callback]([NaNGuard(run, scaled=settings.precision == "16")])
    if settings.network.anneals:
        helpers.append(Annealing(settings.network))
    if settings.freeze:
        helpers.append(FrozenLayers())
    if settings.patience is not None:
        helpers.append(
            RememberedEarlyStopping(
                f"val_{task.measure}", patience=settings.patience, min_delta=settings.min_delta
            )
        )
    return [*helpers, limit]
