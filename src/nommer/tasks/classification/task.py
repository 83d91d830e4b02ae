"""Classification: images of one class each."""

from nommer.tasks.parts import Later
from nommer.tasks.task import Task

CLASSIFICATION = Task(
    name="classification",
    data=Later("nommer.tasks.classification.data:ClassificationSource"),
    model=Later("nommer.tasks.classification.model:ClassificationModel"),
    module=Later("nommer.tasks.classification.loss:ClassificationModule", call=False),
    results=Later("nommer.tasks.classification.results:ClassificationResults"),
    checking=Later("nommer.tasks.classification.checking:ClassificationCheck"),
    deciding=Later("nommer.tasks.classification.deciding:ClassificationDeciding"),
    exporting=Later("nommer.tasks.classification.exporting:ClassificationExport"),
    studying=Later("nommer.tasks.classification.studying:STUDY", call=False),
    options=frozenset({"augment", "classification"}),
    largest_default_batch=64,
)
