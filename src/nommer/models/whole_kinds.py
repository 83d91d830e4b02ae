"""The kinds of whole file: the outputs of each, and how they become answers. Loads no PyTorch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from nommer.errors import InputError, quoted
from nommer.models.whole_description import WholeDescription
from nommer.predictions import Classification, Detections, Failure, Segmentation
from nommer.predictions.failure import NOT_FINITE
from nommer.predictions.run_lengths import encode_pixels

Least = float | Sequence[float] | None
"""Least score of objects: one, or one per class; None for those of the file."""

Named = tuple[str, Image.Image]
"""The name of an image, and its pixels in RGB."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The wishes of who asks, see `WholeFile.answer`."""

    pixels: bool
    least: Least
    refuse: bool


MASKS = "masks"
"""Output of a detector of objects with masks."""

NONE_OF_THESE = "none_of_these"
"""Output of a classifier that knows images unlike those that it learned, (batch,) bool."""


@runtime_checkable
class OpenFile(Protocol):
    """An open file, see `WholeFile`."""

    description: WholeDescription

    @property
    def has_masks(self) -> bool:
        """Objects have masks."""

    def run(
        self, pixels: np.ndarray, *, masks: bool = False, least: Least = None
    ) -> dict[str, Any]:
        """Return the outputs for images (batch, height, width, 3) uint8."""


class WholeKind(ABC):
    """The answers of files for some tasks."""

    tasks: ClassVar[tuple[str, ...]]
    """As the metadata name them."""
    outputs: ClassVar[tuple[str, ...]]
    """The outputs that every such file has, by their names."""
    labels: ClassVar[str] = ""
    """Field of the metadata with a value per class, which is empty in files of other kinds."""

    @abstractmethod
    def answer_options(self, told: WholeDescription) -> frozenset[str]:
        """Return the options of a request that do something; see `Answer.options`."""

    def check_limits(  # noqa: B027 - most kinds have no limits
        self, told: WholeDescription, *, threshold: float | None, most: int | None
    ) -> None:
        """Refuse what was decided when the file was written.

        Raises:
            InputError: the limit, and what was asked for.
        """

    @abstractmethod
    def answer(
        self,
        file: OpenFile,
        images: Sequence[Named],
        wanted: Wanted,
    ) -> list[Any | Failure]:
        """Return the answers to images of one size; see `WholeFile.answer`."""


class WholeClasses(WholeKind):
    """Classes of images, one each or several."""

    tasks = ("classification", "multi-label classification")
    outputs = ("probabilities", "class_ids")

    def answer_options(self, told: WholeDescription) -> frozenset[str]:
        """Return the number of classes that are told, and of several the threshold."""
        return Classification.options_for(multi_label=told.threshold is not None)

    def answer(
        self,
        file: OpenFile,
        images: Sequence[Named],
        wanted: Wanted,
    ) -> list[Classification | Failure]:
        """Return the classes of images."""
        found, told = file.run(stacked(images)), file.description
        unknown = np.full(len(images), None, object)
        refused = (found.get(NONE_OF_THESE, unknown) if wanted.refuse else unknown).tolist()
        parts = zip(images, found["probabilities"], refused, strict=True)
        return [
            _classes(told, name, shares, none, wanted.least) for (name, _), shares, none in parts
        ]


def _classes(
    told: WholeDescription, name: str, probabilities: np.ndarray, none: bool | None, least: Least
) -> Classification | Failure:
    if not np.isfinite(probabilities).all():
        return Failure(name, NOT_FINITE)
    values = tuple(probabilities.tolist())
    answer = Classification(name, told.class_names, values, told.threshold, none_of_these=none)
    return answer if told.threshold is None else answer.by_thresholds(_thresholds(told, least))


class WholeRegions(WholeKind):
    """The class of every pixel."""

    tasks = ("segmentation",)
    outputs = ("class_ids", "probabilities")
    labels = "colours"

    def answer_options(self, told: WholeDescription) -> frozenset[str]:
        """Return the wish for the class of every pixel."""
        return Segmentation.options

    def answer(
        self,
        file: OpenFile,
        images: Sequence[Named],
        wanted: Wanted,
    ) -> list[Segmentation | Failure]:
        """Return the classes of pixels; a `Failure` of images that are too large for the file."""
        told, (_, first) = file.description, images[0]
        limit, size = told.largest_pixels, first.width * first.height
        if limit is not None and size > limit:
            reason = f"{size:,} pixels, over the limit of {limit:,} of an exported segmenter"
            return [Failure(name, reason) for name, _ in images]
        found = file.run(stacked(images))
        parts = zip(images, found["probabilities"], found["class_ids"], strict=True)
        return [
            Segmentation(name, told.class_names, told.colours, ids.astype(np.uint8))
            if np.isfinite(shares).all()
            else Failure(name, NOT_FINITE)
            for (name, _), shares, ids in parts
        ]


class WholeObjects(WholeKind):
    """Objects, found in one image at a time."""

    tasks = ("detection",)
    outputs = ("boxes", "scores", "class_ids")
    labels = "category_ids"

    def answer_options(self, told: WholeDescription) -> frozenset[str]:
        """Return the threshold, the number of objects, and the wish for masks."""
        return Detections.options

    def check_limits(
        self, told: WholeDescription, *, threshold: float | None, most: int | None
    ) -> None:
        """Refuse less sure or more objects than the file was exported for."""
        if threshold is not None and threshold < told.least_score:
            raise InputError(
                f"threshold must be {told.least_score:g} or more, with which the file was "
                f"exported, got {threshold:g}"
            )
        if most is not None and told.most is not None and most > told.most:
            raise InputError(
                f"most must be {told.most} or less, with which the file was exported, got {most}"
            )

    def answer(
        self,
        file: OpenFile,
        images: Sequence[Named],
        wanted: Wanted,
    ) -> list[Detections | Failure]:
        """Return the objects in each image."""
        return [_objects(file, *one, masks=wanted.pixels, least=wanted.least) for one in images]


def _objects(
    file: OpenFile, name: str, image: Image.Image, *, masks: bool, least: Least
) -> Detections | Failure:
    wanted, told = masks and file.has_masks, file.description
    found = file.run(stacked([(name, image)]), masks=wanted, least=least)
    if not all(np.isfinite(found[key]).all() for key in ("boxes", "scores")):
        return Failure(name, NOT_FINITE)
    return Detections(
        name,
        told.class_names,
        (image.height, image.width),
        found["boxes"].astype(np.float64),
        found["scores"].astype(np.float64),
        found["class_ids"].astype(np.int64),
        tuple(map(encode_pixels, found[MASKS])) if wanted else None,
        thresholds=_thresholds(told, least) or None,
    )


def _thresholds(told: WholeDescription, least: Least) -> tuple[float, ...]:
    """Return the least score of each class; empty where there is none but the network's."""
    if least is None:
        return told.class_thresholds
    return tuple(np.full(len(told.class_names), least).tolist())


def stacked(images: Sequence[Named]) -> np.ndarray:
    """Return the pixels of images of one size, (batch, height, width, 3) uint8."""
    return np.stack([np.asarray(image) for _, image in images])


KINDS: tuple[WholeKind, ...] = (WholeClasses(), WholeRegions(), WholeObjects())


def kind_of(task: str) -> WholeKind:
    """Return the kind of whole file that is for a task.

    Raises:
        InputError: none that this nommer knows.
    """
    for kind in KINDS:
        if task in kind.tasks:
            return kind
    known = ", ".join(name for kind in KINDS for name in kind.tasks)
    raise InputError(f"task must be one of {known}, got {quoted(task)}")


def check_labels(told: WholeDescription) -> None:
    """Refuse labels of other tasks, and others than one per class.

    Raises:
        InputError: the labels, and how many there are.
    """
    classes, wanted = len(told.class_names), kind_of(told.task).labels
    for name in filter(None, (kind.labels for kind in KINDS)):
        found = len(getattr(told, name))
        if found != (classes if name == wanted else 0):
            raise InputError(f"{classes} class names, but {found} {name} for {told.task}")
