"""Object detection and instance segmentation: images and the objects in them."""

from nommer.tasks.parts import Later
from nommer.tasks.task import Task

DETECTION = Task(
    name="detection",
    data=Later("nommer.tasks.detection.data:DetectionSource"),
    model=Later("nommer.tasks.detection.model:DetectionModel"),
    module=Later("nommer.tasks.detection.loss:DetectionModule", call=False),
    results=Later("nommer.tasks.detection.results:DetectionResults"),
    checking=Later("nommer.tasks.detection.checking:DetectionCheck"),
    deciding=Later("nommer.tasks.detection.deciding:DetectionDeciding"),
    exporting=Later("nommer.tasks.detection.exporting:DetectionExport"),
    studying=Later("nommer.tasks.detection.studying:STUDY", call=False),
    options=frozenset({"detection"}),
    takes_loss=False,
    largest_default_batch=4,
    has_inference=True,
    synchronise_norms=True,
)
