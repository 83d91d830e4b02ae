"""The tasks that the verbs know, by name: the one place where a task is registered."""

from nommer.data.formats.find import find_task
from nommer.data.formats.source import Source
from nommer.models.kinds import register_kind
from nommer.models.recogniser import Recogniser
from nommer.tasks.classification.task import CLASSIFICATION
from nommer.tasks.detection.task import DETECTION
from nommer.tasks.features.task import IMITATION
from nommer.tasks.multi_label.task import MULTI_LABEL
from nommer.tasks.segmentation.task import SEGMENTATION
from nommer.tasks.task import Task

TASKS: dict[str, Task] = {
    task.name: task for task in (CLASSIFICATION, MULTI_LABEL, SEGMENTATION, DETECTION, IMITATION)
}


def task_for(source: Source) -> Task:
    """Return the task that data are for; what was looked into for that stays in the source.

    Raises:
        InputError: a layout of no task.
    """
    own = (task for task in TASKS.values() if task.data.recognises(source))
    return next(own, None) or TASKS[find_task(source)]


def task_of(model: Recogniser) -> Task:
    """Return the task that a model is for."""
    return TASKS[model.task]


def register(task: Task) -> None:
    """Make a task known to every verb, and its models to `nommer.load`.

    Raises:
        ValueError: another task has its name.
    """
    if TASKS.setdefault(task.name, task) is not task:
        raise ValueError(f"there is a task called {task.name!r} already")
    register_kind(task.model.kind)
