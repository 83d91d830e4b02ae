"""A task's data: reading, auditing and batching labelled images."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from nommer.data.audit import Audited
from nommer.data.formats.labelled import LabelledImages
from nommer.data.formats.source import Source
from nommer.data.module import ImageData, Loading
from nommer.errors import InputError
from nommer.models.recogniser import Recogniser
from nommer.settings.pixel_range import Reading
from nommer.settings.train import TrainSettings

Data = LabelledImages[Any]

Found = Audited[Any]
"""Data that was read and audited."""


@dataclass(frozen=True, kw_only=True)
class Auditing:
    """Options of an audit."""

    on_bad_sample: str
    """The fate of samples that cannot be used: "error", "skip" or "auto", as the verbs have it."""
    training: bool
    """The samples are to be learned from; else a model is evaluated on them."""
    masks: bool | None = None
    """Of objects, their masks are wanted; by default where most have one."""
    reading: Reading = Reading()
    """The reading of image files as RGB."""
    most: int | None = None
    """Answers that an image of objects gets; by default 100."""
    reports: Sequence[Any] | None = None
    """The result of `TaskData.inspect`; by default the samples are read now."""


class TaskData(ABC):
    """A task's data, in the order in which the verbs ask for them."""

    def recognises(self, source: Source) -> bool:
        """Tell if data have a layout that this task reads itself, beside `nommer.data.formats`.

        What is parsed for that, with `source.once`, is there for `read`.
        """
        return False

    def find(self, settings: TrainSettings, source: Source) -> Data:
        """Find what a run learns from and is evaluated on; `source` is of `settings.data`."""
        return self.read(source)

    @abstractmethod
    def read(self, source: Source, class_names: tuple[str, ...] | None = None) -> Data:
        """Return the labelled images of a source.

        With `class_names`, labelled as a model with these classes does.

        Raises:
            InputError: data that are not understood, or are not for this task.
        """

    @abstractmethod
    def split(self, data: Any, *, fraction: float, seed: int) -> Data:
        """Hold back a fraction of data without a split of its own as "val"."""

    def classes_in(self, sample: Any) -> Collection[int]:
        """Return the classes of a sample, by which folds are made alike.

        None where only a look at every pixel would tell them.
        """
        return ()

    @abstractmethod
    def inspect(self, data: Any) -> list[Any]:
        """Read every sample whole and report on each, in their order; `audit` takes the reports."""

    @abstractmethod
    def audit(self, data: Any, how: Auditing) -> Found:
        """Read every sample once, and leave out and list what cannot be used."""

    @abstractmethod
    def training(self, settings: TrainSettings, data: Any, model: Any) -> ImageData[Any, Any]:
        """Return batches of the "train" and "val" parts."""

    @abstractmethod
    def evaluation(self, data: Any, model: Any, loading: Loading) -> ImageData[Any, Any]:
        """Return batches of all samples, for evaluation."""

    def auditing_for(self, model: Recogniser, on_bad_sample: str) -> Auditing:
        """Return how data are audited on which a model is evaluated."""
        reading = model.preprocessing.reading
        return Auditing(on_bad_sample=on_bad_sample, training=False, reading=reading)

    def describe(self, data: Any) -> str:
        """Tell what is to be learned, before the numbers of images."""
        return f"{len(data.class_names)} classes, "

    def describe_classes(self, data: Any) -> dict[str, Any]:
        """Return the meaning of labels, for readers of results and for a resumed run."""
        return {"classes": list(data.class_names)}

    def absent_hint(self, data: Any) -> str:
        """Return a hint at classes of the model that no image is of; else nothing."""
        return ""


def refuse_class_file(source: Source) -> None:
    """Refuse a file of classes for data that say themselves what their classes are.

    Raises:
        InputError: it was given.
    """
    if source.classes is not None:
        raise InputError(
            f"--classes {source.classes}: is for masks of semantic segmentation; {source.root} "
            "says itself what its classes are, so leave it out"
        )
