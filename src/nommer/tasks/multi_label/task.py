"""Multi-label classification: images with any number of classes each.

It has a name of its own, so that its models and data are never mixed up with those of one class.
"""

from nommer.tasks.parts import Later
from nommer.tasks.task import Task

MULTI_LABEL = Task(
    name="multi-label classification",
    data=Later("nommer.tasks.classification.data:ClassificationSource"),
    model=Later("nommer.tasks.multi_label.model:MultiLabelModel"),
    module=Later("nommer.tasks.multi_label.loss:MultiLabelModule", call=False),
    results=Later("nommer.tasks.multi_label.results:MultiLabelResults"),
    checking=Later("nommer.tasks.multi_label.checking:MultiLabelCheck"),
    deciding=Later("nommer.tasks.multi_label.deciding:MultiLabelDeciding"),
    exporting=Later("nommer.tasks.multi_label.exporting:MultiLabelExport"),
    options=frozenset({"augment"}),
    largest_default_batch=64,
)
