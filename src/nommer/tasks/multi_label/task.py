"""Multi-label classification: images with any number of classes each.

It has a name of its own, so that its models and data are never mixed up with those of one class.
"""

from nommer.tasks.multi_label.checking import MultiLabelCheck
from nommer.tasks.multi_label.data import MultiLabelSource
from nommer.tasks.multi_label.exporting import MultiLabelExport
from nommer.tasks.multi_label.loss import MultiLabelModule
from nommer.tasks.multi_label.model import MultiLabelModel
from nommer.tasks.multi_label.results import MultiLabelResults
from nommer.tasks.task import Task

MULTI_LABEL = Task(
    name="multi-label classification",
    data=MultiLabelSource(),
    model=MultiLabelModel(),
    module=MultiLabelModule,
    results=MultiLabelResults(),
    checking=MultiLabelCheck(),
    exporting=MultiLabelExport(),
    options=frozenset({"augment"}),
    largest_default_batch=64,
)
