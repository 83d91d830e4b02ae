"""Semantic segmentation: images whose masks say the class of every pixel."""

from nommer.tasks.parts import Later
from nommer.tasks.task import Task

SEGMENTATION = Task(
    name="segmentation",
    data=Later("nommer.tasks.segmentation.data:SegmentationSource"),
    model=Later("nommer.tasks.segmentation.model:SegmentationModel"),
    module=Later("nommer.tasks.segmentation.loss:SegmentationModule", call=False),
    results=Later("nommer.tasks.segmentation.results:SegmentationResults"),
    checking=Later("nommer.tasks.segmentation.checking:SegmentationCheck"),
    deciding=Later("nommer.tasks.segmentation.deciding:SegmentationDeciding"),
    exporting=Later("nommer.tasks.segmentation.exporting:SegmentationExport"),
    studying=Later("nommer.tasks.segmentation.studying:STUDY", call=False),
    options=frozenset({"segmentation"}),
    largest_default_batch=8,
    has_inference=True,
    averages_views=True,
    synchronise_norms=True,
)
