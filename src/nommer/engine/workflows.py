"""The tasks that the verbs know, by name."""

from pathlib import Path

from nommer.data.formats.find import find_task
from nommer.engine.tasks.classification import ClassificationWorkflow
from nommer.engine.tasks.detection import DetectionWorkflow
from nommer.engine.tasks.multi_label import MultiLabelWorkflow
from nommer.engine.tasks.segmentation import SegmentationWorkflow
from nommer.engine.workflow import Workflow

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
