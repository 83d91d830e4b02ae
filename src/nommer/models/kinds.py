"""The kinds of model that are saved and loaded, each for some tasks."""

from nommer.errors import InputError, quoted
from nommer.models.classification import Classifier
from nommer.models.detection import Detector
from nommer.models.features import FeatureExtractor
from nommer.models.recogniser import Recogniser
from nommer.models.segmentation import Segmenter

_KINDS: list[type[Recogniser]] = [Classifier, Segmenter, Detector, FeatureExtractor]


def register_kind(kind: type[Recogniser]) -> None:
    """Make a kind of model known, so that it can be loaded; one that is known stays as it is."""
    if kind not in _KINDS:
        _KINDS.append(kind)


def kind_for(task: object) -> type[Recogniser]:
    """Return the kind of model that is for a task.

    Raises:
        InputError: none that this nommer knows.
    """
    for kind in _KINDS:
        if task in kind.tasks:
            return kind
    known = ", ".join(name for kind in _KINDS for name in kind.tasks)
    raise InputError(
        f"a model for the task {quoted(task)}, which this nommer does not know (known: {known}); "
        "upgrade nommer"
    )
