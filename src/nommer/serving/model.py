"""The demands of the server on a model, and the options of a request."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

from PIL import Image

from nommer.errors import InputError
from nommer.predictions import Classification, Detections, Failure, Segmentation
from nommer.settings.forcing import Forcing
from nommer.settings.pixel_range import Reading
from nommer.settings.predict import check_thresholds

Answer = Classification | Detections | Segmentation | Failure

MOST = 100_000
"""Largest number of classes or objects that may be asked for."""


@dataclass(frozen=True)
class Options:
    """Options of a request, as of `nommer predict`; None is the model's default.

    Raises:
        InputError: a value out of range; the message names it.
    """

    top: int | None = None
    """Classes to name per image, for classification."""
    threshold: float | str | tuple[tuple[str, float], ...] | None = None
    """Least score of an answer, 0 to 1: of a detector, or of classes of which there are several. A
    number, best, or one per class with its name."""
    most: int | None = None
    """Objects per image, of a detector."""
    refuse: bool = True
    """Answer none of these where an image is unlike those that a classifier learned, if known."""
    pixels: bool = False
    """Answer with masks of objects, or the class of every pixel, too."""

    def __post_init__(self) -> None:
        for name in ("top", "most"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= MOST:
                raise InputError(f"{name} must be from 1 to {MOST}, got {value}")
        check_thresholds("threshold", self.asked)

    @property
    def asked(self) -> float | str | dict[str, float] | None:
        """The threshold as models take it."""
        return dict(self.threshold) if isinstance(self.threshold, tuple) else self.threshold

    def check_known(self, known: frozenset[str], task: str) -> None:
        """Refuse what would change nothing for a task.

        Raises:
            InputError: an option that is given and not among the `known`.
        """
        for one in fields(self):
            if getattr(self, one.name) != one.default and one.name not in known:
                raise InputError(f"{one.name}: does nothing for {task}; leave it out")


@dataclass(frozen=True)
class Look:
    """Wishes of a request about an explanation."""

    tokens: tuple[tuple[int, int], ...] = ()
    """Pixels (x, y) whose tokens are followed."""
    force: tuple[Forcing, ...] = ()
    """Contexts that are forced, for a second answer."""
    grids: bool = False
    """Tell what the page draws, too: probabilities of tokens, what they see, as grids in base64."""
    attribution: bool = False
    """Tell how much each part of the image speaks for the answer, too."""


class Picture(NamedTuple):
    """A decoded image of a request."""

    name: str
    image: Image.Image
    options: Options


class ServedModel(Protocol):
    """A model behind the server; it is called by one thread at a time."""

    name: str
    """As requests call it."""
    task: str
    class_names: tuple[str, ...]
    engine: str
    """Library that computes it: "ONNX Runtime", "PyTorch"."""
    explains: bool
    """It holds a network whose nominations can be looked at."""
    attribution: str | None
    """Method by which answers are attributed to parts of an image; None where there is none."""

    @property
    def answer_options(self) -> frozenset[str]:
        """The options that do something."""

    @property
    def reading(self) -> Reading:
        """The reading of image files as RGB."""

    def check(self, options: Options) -> None:
        """Refuse options that the model cannot follow.

        Raises:
            InputError: the first of them.
        """

    def group(self, picture: Picture) -> Hashable:
        """Return what is alike in pictures that are computed together."""

    def answer(self, pictures: Sequence[Picture]) -> list[Answer]:
        """Return the answers to pictures of one group."""

    def explain(self, picture: Picture, look: Look) -> dict[str, Any]:
        """Return nominations, where there are any, and answer as plain values.

        Raises:
            InputError: a model that cannot be looked into so, or a context that it does not have.
        """

    def describe(self) -> dict[str, Any]:
        """Return what else there is to tell, as plain values."""
