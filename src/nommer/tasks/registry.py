"""The tasks that the verbs know, by name."""

from pathlib import Path

from nommer.data.formats.find import find_task
from nommer.tasks.classification.task import ClassificationWorkflow
from nommer.tasks.detection.task import DetectionWorkflow
from nommer.tasks.multi_label.task import MultiLabelWorkflow
from nommer.tasks.segmentation.task import SegmentationWorkflow
from nommer.tasks.workflow import Workflow

WORKFLOWS: dict[str, Workflow] = {
    workflow.name: workflow
    for workflow in (
        ClassificationWorkflow(),
        MultiLabelWorkflow(),
        SegmentationWorkflow(),
        DetectionWorkflow(),
    )
}


def find_workflow(root: Path, classes: Path | None = None) -> Workflow:
    """The workflow of the task that the data in a folder are for.

    Raises:
        InputError: a layout of no task.
    """
    return WORKFLOWS[find_task(root, classes)]
