"""What training and judging ask of a task: its data, its model, its losses and its pictures; siblings answer it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nommer.data.formats.labelled import LabelledImages
from nommer.data.module import ImageData, Loading
from nommer.engine.settings import TrainSettings
from nommer.engine.task import Report, Task
from nommer.heads.inference import Inference
from nommer.heads.storage import Model

Data = LabelledImages[Any]


@dataclass(frozen=True)
class Found:
    """Data that was read and audited."""

    data: Data
    short_side: int
    """Median of the images' shorter side, in pixels."""
    class_pixels: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """Training pixels of each class, where a task labels pixels."""
    contents: Mapping[Path, str] = field(default_factory=dict)
    """What tells each sample from any other, where it was read whole."""


@dataclass(frozen=True)
class Judgement:
    """The report over a data set, and what is kept of the answer to every sample."""

    report: Report
    samples: tuple[Any, ...]
    answers: tuple[Any, ...]


class Workflow(ABC):
    """One task's answers to what the verbs ask, in the order in which they ask it."""

    name: ClassVar[str]
    task: ClassVar[type[Task]]
    largest_default_batch: ClassVar[int]
    has_inference: ClassVar[bool] = False
    """Whether there are several ways to go over an image."""
    synchronise_norms: ClassVar[bool] = False
    """Whether batch norms see the batches of all GPUs together."""
    plots: ClassVar[str]
    """The pictures that a run shows, by file name."""

    @abstractmethod
    def read(self, root: Path, *, classes: Path | None, class_names: tuple[str, ...] | None = None) -> Data:
        """Find the labelled images under `root`; with `class_names`, labelled as a model with these classes does."""

    @abstractmethod
    def split(self, data: Data, *, fraction: float, seed: int) -> Data:
        """Hold back a fraction of data without a split of its own as "val"."""

    @abstractmethod
    def inspect(self, data: Any) -> list[Any]:
        """Read every sample whole, and tell what was found in each, in their order; `audit` takes it."""

    @abstractmethod
    def audit(
        self,
        data: Data,
        *,
        on_bad_sample: str,
        training: bool,
        masks: bool | None = None,
        reports: Sequence[Any] | None = None,
    ) -> Found:
        """Read every sample once, and leave out and list what cannot be used.

        Args:
            data: what was read.
            on_bad_sample: "error", "skip" or "auto", as the verbs have it.
            training: whether it is to be learned from, or judged on.
            masks: of objects, whether their masks are wanted; by default where most have one.
            reports: what `inspect` found; by default the samples are read now.
        """

    @abstractmethod
    def resolve(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """Settings with the task's defaults filled in; refuses those of other tasks."""

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
    def judging_data(self, data: Data, model: Any, loading: Loading) -> ImageData[Any, Any]:
        """Batches of all samples, for judging."""

    @abstractmethod
    def training_task(self, settings: TrainSettings, model: Any, *, lr: float, found: Found) -> Task:
        """The model with its losses and its optimiser."""

    @abstractmethod
    def judging_task(self, model: Any, data: Data, inference: Inference) -> Task:
        """The model to be judged on all samples of `data`."""

    @abstractmethod
    def save_training_batch(self, data: Any, model: Any, path: Path) -> None:
        """A picture of the first training samples as the network will see them."""

    @abstractmethod
    def save_judgement(
        self, judgement: Judgement, model: Any, data: Data, out: Path, *, facts: Mapping[str, Any]
    ) -> None:
        """Write tables and plots of a judgement over `data` into `out`."""

    def describe_classes(self, data: Any) -> dict[str, Any]:
        """What labels mean, for whoever reads the run's results, and for a run that is resumed to compare."""
        return {"classes": list(data.class_names)}

    def absent_hint(self, data: Any) -> str:
        """Which of the model's classes no image is of; nothing where none is lacking, or nobody knows before."""
        return ""
