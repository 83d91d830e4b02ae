"""The tasks that the verbs know, by name."""

from nommer.engine.classification import ClassificationWorkflow
from nommer.engine.segmentation import SegmentationWorkflow
from nommer.engine.workflow import Workflow

WORKFLOWS: dict[str, Workflow] = {
    workflow.name: workflow for workflow in (ClassificationWorkflow(), SegmentationWorkflow())
}
