"""A task's model, built as the settings of a training say."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from nommer.models.recogniser import Recogniser
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Found


class TaskModel(ABC):
    """The building of a task's model."""

    kind: ClassVar[type[Recogniser]]
    """The class of the models, which are saved and loaded by it."""

    @abstractmethod
    def fill_in(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """Return settings with what depends on the task and its data.

        Raises:
            InputError: anything that does not fit.
        """

    def describe_size(self, settings: TrainSettings) -> str:
        """Say how large images are worked on."""
        return f"image size {settings.image_size}"

    @abstractmethod
    def build(self, settings: TrainSettings, data: Any) -> Recogniser:
        """Return the model with fresh weights, or with those of another one."""
