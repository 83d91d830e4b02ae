"""Semantic segmentation: images whose masks say the class of every pixel."""

from nommer.tasks.segmentation.checking import SegmentationCheck
from nommer.tasks.segmentation.data import SegmentationSource
from nommer.tasks.segmentation.exporting import SegmentationExport
from nommer.tasks.segmentation.loss import SegmentationModule
from nommer.tasks.segmentation.model import SegmentationModel
from nommer.tasks.segmentation.results import SegmentationResults
from nommer.tasks.segmentation.studying import STUDY
from nommer.tasks.task import Task

SEGMENTATION = Task(
    name="segmentation",
    data=SegmentationSource(),
    model=SegmentationModel(),
    module=SegmentationModule,
    results=SegmentationResults(),
    checking=SegmentationCheck(),
    exporting=SegmentationExport(),
    studying=STUDY,
    options=frozenset({"segmentation"}),
    largest_default_batch=8,
    has_inference=True,
    synchronise_norms=True,
)
