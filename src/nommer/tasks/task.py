"""A task: one folder, whose files are its parts, and the object that names them.

A part is imported when it is used: who only wants answers needs no Lightning, nor waits for it.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nommer.data.ranges import resolve_range
from nommer.errors import InputError, refuse_options
from nommer.tasks.parts import Part

if TYPE_CHECKING:
    from nommer.models.recogniser import Recogniser
    from nommer.settings.inference import Inference
    from nommer.settings.train import TrainSettings
    from nommer.tasks.checking import TaskCheck
    from nommer.tasks.data import Found, TaskData
    from nommer.tasks.deciding import TaskDeciding
    from nommer.tasks.exporting import TaskExport
    from nommer.tasks.model import TaskModel
    from nommer.tasks.module import TaskModule
    from nommer.tasks.results import TaskResults
    from nommer.tasks.studying import Study

OPTION_GROUPS = ("augment", "classification", "segmentation", "detection")
"""Groups of training settings that are for some tasks only."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task's answers to what the verbs ask."""

    name: str
    """As `model.json` has it."""
    data: Part["TaskData"] = Part()
    model: Part["TaskModel"] = Part()
    module: Part["type[TaskModule]"] = Part()
    results: Part["TaskResults"] = Part()
    checking: Part["TaskCheck"] = Part()
    exporting: Part["TaskExport"] = Part()
    deciding: Part["TaskDeciding | None"] = Part(None)
    """None where nothing is decided by what validation images show."""
    studying: Part["Study | None"] = Part(None)
    """None where data sets are not studied."""
    options: frozenset[str] = frozenset()
    """The `OPTION_GROUPS` that do something for this task."""
    largest_default_batch: int = 8
    takes_loss: bool = True
    """A loss of scores and targets can stand in the place of its own."""
    answers: bool = True
    """Its models answer images, and are evaluated on labels."""
    has_inference: bool = False
    """There are several ways to go over an image."""
    averages_views: bool = False
    """Among them, scales and mirrored images."""
    synchronise_norms: bool = False
    """Batch norms see the batches of all processes together."""

    def study(self) -> "Study":
        """Return the part in studies of data sets.

        Raises:
            InputError: data sets of this task are not studied.
        """
        if self.studying is None:
            raise InputError(
                f"--data: a study is not made of {self.name}; explain single images instead"
            )
        return self.studying

    def check_inference(self, inference: "Inference") -> None:
        """Refuse ways over an image that this task does not have.

        Raises:
            InputError: the first option that does nothing.
        """
        if not self.has_inference:
            refuse_options("inference", inference, self.name)
        elif not self.averages_views:
            inference.check_objects()

    def training_module(
        self, settings: "TrainSettings", model: "Recogniser", *, lr: float, found: "Found"
    ) -> "TaskModule":
        """Return the model with its losses, that of imitating a teacher among them, and optimiser.

        Raises:
            InputError: no such teacher, or one that cannot be imitated as it is asked for.
        """
        from nommer.tasks.teachers import build_distillation  # noqa: PLC0415 - Lightning

        kind = self.module.kind_for(settings)
        module = kind.for_training(settings, model, lr=lr, found=found)
        module.distillation = build_distillation(settings, model)
        network = settings.network
        if network.balances:
            module.balance = {
                "balance": network.balance,
                "decided": network.decided,
                "places": network.balance_places,
            }
        return module

    def resolve(self, settings: "TrainSettings", found: "Found") -> "TrainSettings":
        """Return settings with everything filled in that depends on task, data and machine.

        Raises:
            InputError: options of other tasks, or anything else that does not fit.
        """
        from nommer.tasks.resolve import resolve  # noqa: PLC0415 - Lightning

        for group in OPTION_GROUPS:
            if group not in self.options:
                refuse_options(group, getattr(settings, group), self.name)
        images = len(found.data.splits["train"])
        pixels = replace(settings.pixels, range=resolve_range(settings.pixels.range, found.values))
        settings = resolve(
            replace(settings, pixels=pixels),
            train_images=images,
            largest_batch=self.largest_default_batch,
        )
        return self.model.fill_in(settings, found)
