"""Whole ONNX files: pixels in, answers out, computed by ONNX Runtime without loading PyTorch.

`nommer export --whole` writes them; the graph resizes, normalises and turns scores into answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from nommer.errors import InputError, shortened
from nommer.models.onnx_files import WHOLE, open_described
from nommer.predictions import Classification, Detections, Failure, Segmentation
from nommer.predictions.failure import NOT_FINITE
from nommer.predictions.run_lengths import encode_pixels
from nommer.settings.pixel_range import PixelRange, Reading, check_range
from nommer.settings.schema import Settings

WholeTask = Literal["classification", "multi-label classification", "segmentation", "detection"]

Colour = tuple[int, int, int]

Least = float | Sequence[float] | None
"""Least score of objects: one, or one per class; None for those of the file."""

Named = tuple[str, Image.Image]
"""The name of an image, and its pixels in RGB."""

IMAGES = "images"
"""The input: (batch, height, width, 3) uint8."""

OUTPUTS: dict[str, tuple[str, ...]] = {
    "classification": ("probabilities", "class_ids"),
    "multi-label classification": ("probabilities", "class_ids"),
    "segmentation": ("class_ids", "probabilities"),
    "detection": ("boxes", "scores", "class_ids"),
}
"""Names of the outputs, by task; of a detector with masks these too."""

MASKS = "masks"

NONE_OF_THESE = "none_of_these"
"""Output of a classifier that knows images unlike those that it learned, (batch,) bool."""

THRESHOLDS = "thresholds"
"""Input of a detector that may be left out, (classes,) float64: the least score of an answer of
each class, by default `class_thresholds`."""


@dataclass(frozen=True, kw_only=True)
class WholeDescription(Settings):
    """Facts that the metadata of a whole file tell.

    Raises:
        InputError: a value of another type, or out of range; the message names it.
    """

    task: WholeTask
    class_names: tuple[str, ...]
    outputs: tuple[str, ...]
    class_ids: tuple[str, ...] = ()
    """Of a classifier, other names of the classes, such as WordNet ids."""
    threshold: float | None = None
    """Of a classifier where an image may have several classes."""
    class_thresholds: tuple[float, ...] = ()
    """Least score of an answer of each class, by default: of a detector, and of such a classifier.
    Empty where none were found."""
    colours: tuple[Colour, ...] = ()
    """Of a segmenter, one RGB colour (0-255) per class."""
    category_ids: tuple[int, ...] = ()
    """Of a detector, one per class."""
    least_score: float = 0.0
    """Of a detector: objects of lower (calibrated) scores are not, or not all, in the answers."""
    most: int | None = None
    """Objects that a detector answers with, at most."""
    largest_pixels: int | None = None
    """Pixels of an image, at most."""
    background: Colour = (255, 255, 255)
    range: PixelRange = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "range", check_range(self.range))
        super().__post_init__()

    def check(self) -> None:
        """Refuse labels that are not as many as the classes."""
        classes = len(self.class_names)
        if len(self.class_thresholds) not in (0, classes):
            found = len(self.class_thresholds)
            raise InputError(f"{classes} class names, but {found} class_thresholds")
        for name, wanted in (("colours", "segmentation"), ("category_ids", "detection")):
            found = len(getattr(self, name))
            if found != (classes if self.task == wanted else 0):
                raise InputError(f"{classes} class names, but {found} {name} for {self.task}")

    @property
    def reading(self) -> Reading:
        """How image files become RGB."""
        return Reading(self.background, self.range)


class WholeFile:
    """A whole ONNX file, open.

    Args:
        path: of the file.
        session: of ONNX Runtime on it.
        told: its metadata.

    Raises:
        InputError: it is no whole file.
    """

    def __init__(self, path: Path, session: Any, told: Mapping[str, Any]) -> None:
        self.path, self.session = path, session
        if not told.get(WHOLE):
            raise InputError(f"{path}: is no whole file; export it with --whole")
        names = WholeDescription.__dataclass_fields__
        try:
            self.description: WholeDescription = WholeDescription.from_mapping(
                {name: _frozen(value) for name, value in told.items() if name in names}, "metadata"
            )
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        self._check_graph()

    @classmethod
    def open(cls, path: Path, *, threads: int | None = None) -> "WholeFile":
        """Open a file, to be computed by so many threads, by default one per core.

        Raises:
            InputError: a file that cannot be read, or is no whole file.
        """
        return cls(path, *open_described(path, threads=threads))

    def _check_graph(self) -> None:
        """Refuse a graph that takes or gives something else than its metadata say."""
        taken = {entry.name: (entry.type, len(entry.shape)) for entry in self.session.get_inputs()}
        if taken != {IMAGES: ("tensor(uint8)", 4)}:
            raise InputError(
                f"{self.path}: takes {shortened(str(taken), 200)}, expected {IMAGES} (batch, "
                "height, width, 3) uint8"
            )
        given, task = [entry.name for entry in self.session.get_outputs()], self.description.task
        if set(self.description.outputs) - set(given) or set(OUTPUTS[task]) - set(given):
            raise InputError(
                f"{self.path}: gives {', '.join(given)}, but its metadata name "
                f"{', '.join(self.description.outputs)}; export the model again"
            )

    def check_limits(self, *, threshold: float | None, most: int | None) -> None:
        """Refuse less sure or more objects than a detector was exported for.

        Raises:
            InputError: the limit, and what was asked for.
        """
        told = self.description
        if told.task != "detection":
            return
        if threshold is not None and threshold < told.least_score:
            raise InputError(
                f"threshold must be {told.least_score:g} or more, with which the file was "
                f"exported, got {threshold:g}"
            )
        if most is not None and told.most is not None and most > told.most:
            raise InputError(
                f"most must be {told.most} or less, with which the file was exported, got {most}"
            )

    @cached_property
    def has_masks(self) -> bool:
        """Objects have masks."""
        return MASKS in self.description.outputs

    def run(
        self, pixels: np.ndarray, *, masks: bool = False, threshold: Least = None
    ) -> dict[str, np.ndarray]:
        """Return the outputs for images (batch, height, width, 3) uint8.

        Args:
            pixels: of one size.
            masks: of objects, too.
            threshold: least score of objects; by default those of the file.

        Raises:
            InputError: what the file computes fails.
        """
        names = [name for name in self.description.outputs if masks or name != MASKS]
        given = {IMAGES: pixels}
        if threshold is not None:
            given[THRESHOLDS] = np.full(len(self.description.class_names), threshold)
        try:
            found = self.session.run(names, given, run_options())
            return dict(zip(names, found, strict=True))
        except Exception as error:  # whatever a runtime may raise of a file that was changed
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"{self.path}: cannot compute images of shape {pixels.shape}: {reason}"
            ) from error

    def answer(
        self, images: Sequence[Named], *, pixels: bool = True, threshold: Least = None
    ) -> list[Classification | Detections | Segmentation | Failure]:
        """Return the answers to images of one size.

        `pixels` asks for masks of objects, too; `threshold` is of objects alone.
        """
        limit = self.description.largest_pixels
        first = images[0][1]
        if limit is not None and first.width * first.height > limit:
            reason = f"{first.width * first.height:,} pixels, over the limit of {limit:,}"
            return [Failure(name, f"{reason} of an exported segmenter") for name, _ in images]
        task = self.description.task
        if task == "detection":
            return [self._objects(*one, masks=pixels, threshold=threshold) for one in images]
        found = self.run(np.stack([np.asarray(image) for _, image in images]))
        parts = zip(images, found["probabilities"], found["class_ids"], strict=True)
        if task == "segmentation":
            return [self._labelled(name, shares, ids) for (name, _), shares, ids in parts]
        refused = found.get(NONE_OF_THESE, np.full(len(images), None, object)).tolist()
        return [
            self._classes(name, shares, none)
            for ((name, _), shares, _), none in zip(parts, refused, strict=True)
        ]

    def _classes(
        self, name: str, probabilities: np.ndarray, none: bool | None
    ) -> Classification | Failure:
        if not np.isfinite(probabilities).all():
            return Failure(name, NOT_FINITE)
        told, values = self.description, tuple(probabilities.tolist())
        answer = Classification(name, told.class_names, values, told.threshold, none_of_these=none)
        return answer.by_thresholds(told.class_thresholds if told.threshold is not None else ())

    def _labelled(self, name: str, shares: np.ndarray, ids: np.ndarray) -> Segmentation | Failure:
        if not np.isfinite(shares).all():
            return Failure(name, NOT_FINITE)
        told = self.description
        return Segmentation(name, told.class_names, told.colours, ids.astype(np.uint8))

    def _objects(
        self, name: str, image: Image.Image, *, masks: bool, threshold: Least
    ) -> Detections | Failure:
        wanted, told = masks and self.has_masks, self.description
        found: dict[str, Any] = self.run(np.asarray(image)[None], masks=wanted, threshold=threshold)
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
            thresholds=self._thresholds(threshold),
        )

    def _thresholds(self, asked: Least) -> tuple[float, ...] | None:
        """Return the least score of each class; None where there is none but the network's."""
        told = self.description
        if asked is None:
            return told.class_thresholds or None
        return tuple(np.full(len(told.class_names), asked).tolist())


def _frozen(value: Any) -> Any:
    """Return lists of JSON as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def run_options() -> Any:
    """Options of a computation that leaves out what is not asked for, as masks."""
    from onnxruntime import RunOptions  # noqa: PLC0415 - imported with the session

    options = RunOptions()
    options.only_execute_path_to_fetches = True
    return options
