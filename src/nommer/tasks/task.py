"""What training and judging ask of a task: its data, its model, its losses and its pictures.

Siblings answer it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from nommer.data.audit import Audited
from nommer.data.formats.labelled import LabelledImages
from nommer.data.module import ImageData, Loading
from nommer.data.ranges import resolve_range
from nommer.errors import refuse_options
from nommer.models.storage import Model
from nommer.settings.inference import Inference
from nommer.settings.pixel_range import Reading
from nommer.settings.train import TrainSettings
from nommer.tasks.module import Report, TaskModule
from nommer.tasks.resolve import resolve

Data = LabelledImages[Any]

TASK_OPTIONS = ("augment", "classification", "segmentation", "detection")
"""Groups of settings that are for some tasks only."""


Found = Audited[Any]
"""Data that was read and audited."""


@dataclass(frozen=True, kw_only=True)
class Auditing:
    """How data are audited."""

    on_bad_sample: str
    """What is done about samples that cannot be used: "error", "skip" or "auto", as the verbs have
    it.
    """
    training: bool
    """Whether they are to be learned from, or judged on."""
    masks: bool | None = None
    """Of objects, whether their masks are wanted; by default where most have one."""
    reports: Sequence[Any] | None = None
    """What `Task.inspect` found; by default the samples are read now."""
    reading: Reading = Reading()
    """How image files become RGB."""


@dataclass(frozen=True)
class Evaluation:
    """The report over a data set, and what is kept of the answer to every sample."""

    report: Report
    samples: tuple[Any, ...]
    answers: tuple[Any, ...]


class Task(ABC):
    """One task's answers to what the verbs ask, in the order in which they ask it."""

    name: ClassVar[str]
    module: ClassVar[type[TaskModule]]
    options: ClassVar[frozenset[str]]
    """Which of `TASK_OPTIONS` do something for this task."""
    largest_default_batch: ClassVar[int]
    has_inference: ClassVar[bool] = False
    """Whether there are several ways to go over an image."""
    synchronise_norms: ClassVar[bool] = False
    """Whether batch norms see the batches of all processes together."""
    plots: ClassVar[str]
    """The pictures that a run shows, by file name."""

    @abstractmethod
    def read(
        self, root: Path, *, classes: Path | None, class_names: tuple[str, ...] | None = None
    ) -> Data:
        """Find the labelled images under `root`.

        With `class_names`, labelled as a model with these classes does.
        """

    @abstractmethod
    def split(self, data: Data, *, fraction: float, seed: int) -> Data:
        """Hold back a fraction of data without a split of its own as "val"."""

    @abstractmethod
    def inspect(self, data: Any) -> list[Any]:
        """Read every sample whole, and tell what was found in each, in their order.

        `audit` takes it.
        """

    @abstractmethod
    def audit(self, data: Any, how: Auditing) -> Found:
        """Read every sample once, and leave out and list what cannot be used."""

    def resolve(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """Settings with everything filled in that depends on task, data and machine.

        Raises:
            InputError: options of other tasks, or anything else that does not fit.
        """
        for group in TASK_OPTIONS:
            if group not in self.options:
                refuse_options(group, getattr(settings, group), self.name)
        pixels = replace(settings.pixels, range=resolve_range(settings.pixels.range, found.values))
        settings = replace(settings, pixels=pixels)
        images = len(found.data.splits["train"])
        return self.fill_in(
            resolve(settings, train_images=images, largest_batch=self.largest_default_batch), found
        )

    @abstractmethod
    def fill_in(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """Settings with what depends on the task and its data."""

    def describe_size(self, settings: TrainSettings) -> str:
        """How large images are worked on, in words."""
        return f"image size {settings.image_size}"

    @abstractmethod
    def build_model(self, settings: TrainSettings, data: Data) -> Model:
        """The model with fresh weights, or with those of another one."""

    @abstractmethod
    def training_data(self, settings: TrainSettings, data: Data, model: Any) -> ImageData[Any, Any]:
        """Batches of the "train" and "val" parts."""

    @abstractmethod
    def evaluation_data(self, data: Data, model: Any, loading: Loading) -> ImageData[Any, Any]:
        """Batches of all samples, for judging."""

    @abstractmethod
    def training_module(
        self, settings: TrainSettings, model: Any, *, lr: float, found: Found
    ) -> TaskModule:
        """The model with its losses and its optimiser."""

    @abstractmethod
    def evaluation_module(self, model: Any, data: Data, inference: Inference) -> TaskModule:
        """The model to be judged on all samples of `data`."""

    @abstractmethod
    def save_training_batch(self, data: Any, model: Any, path: Path) -> None:
        """A picture of the first training samples as the network will see them."""

    @abstractmethod
    def save_evaluation(
        self, evaluation: Evaluation, model: Any, data: Data, out: Path, *, facts: Mapping[str, Any]
    ) -> None:
        """Write tables and plots of a evaluation over `data` into `out`."""

    def describe_classes(self, data: Any) -> dict[str, Any]:
        """What labels mean, for whoever reads the run's results, and for a run that is resumed to
        compare.
        """
        return {"classes": list(data.class_names)}

    def absent_hint(self, data: Any) -> str:
        """Which of the model's classes no image is of.

        Nothing where none is lacking, or nobody knows before.
        """
        return ""
