"""The models of all tasks.

From images as they are to the network's input, and an answer for each.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import torch
from PIL import Image
from torch import Tensor, nn

from nommer.data.images import ImageError, decode
from nommer.data.sources import ImageSource, open_any, source_name
from nommer.models.decisions import Decisions
from nommer.models.ensemble_networks import Ensemble
from nommer.models.exported_networks import ExportedNetwork
from nommer.predictions import Failure, Picture, with_picture
from nommer.predictions.failure import NOT_FINITE
from nommer.settings.pixel_range import Reading

Answer = TypeVar("Answer")


@runtime_checkable
class ImagePreparation(Protocol):
    """From a decoded image to the network's input."""

    @property
    def reading(self) -> Reading:
        """The reading of image files as RGB."""

    def normalise(self, image: Image.Image) -> Tensor:
        """Return an RGB image as float32 (3, h, w), at the size that it has."""

    def denormalise(self, pixels: Any) -> Any:
        """Return the pixels of a normalised image, from 0 to 1."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""

    def __call__(self, image: Image.Image) -> Tensor:
        """An RGB image as float32 (3, h, w), normalised."""


@dataclass(frozen=True)
class View:
    """An image as a model sees it."""

    image: Image.Image
    """The pixels that are seen, cropped or shrunk where the model does so."""
    prepared: Tensor
    """(3, h, w) float32, the network's input."""
    box: tuple[float, float, float, float] | None = None
    """Left, upper, right and lower of what is seen, in pixels of the image; None for all of it."""
    shrunk: bool = False
    """The image is too large to be seen whole otherwise."""


class Recogniser(nn.Module):
    """A network with class names and preprocessing; siblings say what it answers.

    Args:
        network: the network.
        class_names: its classes as people call them.
        preprocessing: how images are prepared for it.
    """

    tasks: ClassVar[tuple[str, ...]]
    """The tasks that such models are for, as `model.json` names them."""
    exported_network: ClassVar[type[ExportedNetwork]] = ExportedNetwork
    """The network of such a model that was exported."""
    ensemble_network: ClassVar[type[Ensemble] | None] = None
    """The network of several such models as one; None where they answer nothing."""
    inference_method: ClassVar[str] = "forward"
    """Method of the network that answers are computed by."""
    preprocessing_kind: ClassVar[type]
    """The dataclass of `preprocessing`."""
    one_size: ClassVar[bool] = False
    """All images have one size when the network sees them."""
    has_answers: ClassVar[bool] = True
    """It answers images."""
    smooth_scores: ClassVar[bool] = True
    """The score of an answer changes smoothly with the pixels."""
    finds: ClassVar[Literal["images", "regions", "objects"]] = "images"
    """The things that get a class."""

    network: Any
    preprocessing: ImagePreparation
    predict_stream: Callable[..., Iterator[Any]]
    """From images to answers, one after the other."""

    def __init__(
        self, network: nn.Module, *, class_names: Sequence[str], preprocessing: ImagePreparation
    ) -> None:
        super().__init__()
        self.network = network
        self.class_names = tuple(class_names)
        self.preprocessing = preprocessing
        self.decisions = Decisions()
        """Thresholds and the like, as found on validation images."""

    @classmethod
    def build_network(cls, description: Mapping[str, Any]) -> nn.Module:
        """Return the network that `architecture` described, with fresh weights."""
        raise NotImplementedError

    @classmethod
    def of(cls, network: Any, description: Mapping[str, Any]) -> "Recogniser":
        """Return the model of a network, with the labels and the preprocessing of a description."""
        raise NotImplementedError

    def architecture(self) -> dict[str, Any]:
        """Return what `build_network` needs, as plain values."""
        raise NotImplementedError

    def labels(self) -> dict[str, Any]:
        """Return what answers are labelled with beside class names, as plain values."""
        return {}

    @property
    def task(self) -> str:
        """The task that the model is for."""
        return self.tasks[0]

    @property
    def backbone(self) -> Any:
        """The network under the heads: a NomMer or a network of timm."""
        return self.network

    @property
    def exported(self) -> ExportedNetwork | None:
        """The network of an exported model; None of a model in PyTorch."""
        return self.network if isinstance(self.network, ExportedNetwork) else None

    @property
    def names_in_data(self) -> tuple[tuple[str, ...], ...]:
        """The names by which data may call the classes, in their order; the usual ones first."""
        return (self.class_names,)

    @property
    def answer_options(self) -> frozenset[str]:
        """The options of a request that do something, as of `Answer.options`."""
        return frozenset()

    @property
    def has_one_answer(self) -> bool:
        """Each image gets one answer, whose probability can be followed."""
        return False

    def sees_whole(self, size: tuple[int, int]) -> bool:
        """Tell if a prepared image of this height and width is seen whole, and not in windows."""
        return True

    def view(self, image: Image.Image) -> View:
        """Return an image as the network sees it, whole."""
        return View(image, self.preprocessing(image))

    def answer(self, view: View, name: str) -> Any | None:
        """Return the answer to one image that is seen whole; None where the scores are NaN."""
        raise NotImplementedError

    def answer_together(self, sources: Sequence[ImageSource], **asked: Any) -> list[Any | Failure]:
        """Return the answers to images, computed together where the network can.

        Args:
            sources: the images.
            asked: of `predict_stream`; of `answer_options` all but `top` and `pixels`.
        """
        return list(self.predict_stream(sources, **asked))

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The kind of numbers that the weights are, and that the network takes."""
        kinds = (parameter.dtype for parameter in self.parameters())
        return next((kind for kind in kinds if kind.is_floating_point), torch.float32)

    def prepare(self, source: ImageSource) -> Tensor | Failure:
        """An image as the network takes it, (3, h, w) float32, or a `Failure`."""
        image = open_source(source, self.preprocessing.reading)
        return image if isinstance(image, Failure) else self.preprocessing(image)

    def answer_each(
        self, sources: Iterable[ImageSource], answer: Callable[[str, Image.Image], Answer | None]
    ) -> Iterator[Answer | Failure]:
        """Yield the answers of `answer` to the name and the decoded image of every source.

        One image is in memory at a time.

        What cannot be decoded, or is answered by None for scores that are NaN, gets a
        `Failure`. Answers keep the way to their picture.
        """
        for source in sources:
            name = source_name(source)
            image = open_source(source, self.preprocessing.reading)
            if isinstance(image, Failure):
                yield image
                continue
            answered = answer(name, image)
            yield (
                Failure(name, NOT_FINITE)
                if answered is None
                else with_picture(answered, picture_of(source, image, self.preprocessing.reading))
            )


def open_source(source: ImageSource, reading: Reading) -> Image.Image | Failure:
    """A source as an RGB image, what is transparent on `background`.

    A `Failure` if it cannot be decoded.
    """
    try:
        return open_any(source, reading)
    except ImageError as error:
        return Failure(source_name(source), error.reason)


def picture_of(source: ImageSource, image: Image.Image, reading: Reading) -> Picture:
    """Return the way back to a decoded image: its file, or itself where it has none."""
    if isinstance(source, str | os.PathLike):
        return Picture.of_file(partial(decode, Path(source), reading))
    return Picture.of_pixels(image)
