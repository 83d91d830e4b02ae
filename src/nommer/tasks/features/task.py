"""Imitation: images without labels, and a teacher's features of them."""

from nommer.tasks.parts import Later
from nommer.tasks.task import Task

IMITATION = Task(
    name="features",
    data=Later("nommer.tasks.features.data:UnlabelledSource"),
    model=Later("nommer.tasks.features.model:ImitationModel"),
    module=Later("nommer.tasks.features.loss:ImitationModule", call=False),
    results=Later("nommer.tasks.features.results:ImitationResults"),
    checking=Later("nommer.tasks.features.checking:ImitationCheck"),
    exporting=Later("nommer.tasks.features.exporting:ImitationExport"),
    options=frozenset({"augment"}),
    answers=False,
    largest_default_batch=64,
)
