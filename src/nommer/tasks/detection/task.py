"""Object detection and instance segmentation: images and the objects in them."""

from nommer.tasks.detection.checking import DetectionCheck
from nommer.tasks.detection.data import DetectionSource
from nommer.tasks.detection.exporting import DetectionExport
from nommer.tasks.detection.loss import DetectionModule
from nommer.tasks.detection.model import DetectionModel
from nommer.tasks.detection.results import DetectionResults
from nommer.tasks.detection.studying import STUDY
from nommer.tasks.task import Task

DETECTION = Task(
    name="detection",
    data=DetectionSource(),
    model=DetectionModel(),
    module=DetectionModule,
    results=DetectionResults(),
    checking=DetectionCheck(),
    exporting=DetectionExport(),
    studying=STUDY,
    options=frozenset({"detection"}),
    largest_default_batch=4,
    synchronise_norms=True,
)
