"""Classification: images of one class each."""

from nommer.tasks.classification.checking import ClassificationCheck
from nommer.tasks.classification.data import ClassificationSource
from nommer.tasks.classification.exporting import ClassificationExport
from nommer.tasks.classification.loss import ClassificationModule
from nommer.tasks.classification.model import ClassificationModel
from nommer.tasks.classification.results import ClassificationResults
from nommer.tasks.classification.studying import STUDY
from nommer.tasks.task import Task

CLASSIFICATION = Task(
    name="classification",
    data=ClassificationSource(),
    model=ClassificationModel(),
    module=ClassificationModule,
    results=ClassificationResults(),
    checking=ClassificationCheck(),
    exporting=ClassificationExport(),
    studying=STUDY,
    options=frozenset({"augment", "classification"}),
    largest_default_batch=64,
)
