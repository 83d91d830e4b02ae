"""The tasks that the verbs know, by name: the one place where a task is registered."""

from pathlib import Path

from nommer.data.formats.find import find_task
from nommer.tasks.classification.task import ClassificationTask
from nommer.tasks.detection.task import DetectionTask
from nommer.tasks.multi_label.task import MultiLabelTask
from nommer.tasks.segmentation.task import SegmentationTask
from nommer.tasks.task import Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (ClassificationTask(), MultiLabelTask(), SegmentationTask(), DetectionTask())
}


def task_for(root: Path, classes: Path | None = None) -> Task:
    """Return the task that the data in a folder are for.

    Raises:
        InputError: a layout of no task.
    """
    return TASKS[find_task(root, classes)]
