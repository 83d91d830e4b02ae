"""An image classifier: the network, the names of its classes, and how its images are prepared."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from nommer.data.sources import ImageSource, source_name, sources_of
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError, check_minimum
from nommer.models.evaluation_mode import evaluating
from nommer.models.networks import build_network, describe_network
from nommer.models.recogniser import (
    NOT_FINITE,
    Recogniser,
    View,
    open_source,
    picture_of,
)
from nommer.predictions import Classification, Failure, Picture
from nommer.settings.choices import Channels
from nommer.shapes import Images, Logits


class Classifier(Recogniser):
    """A NomMer with class names and preprocessing.

    `forward` is the network's, `predict` takes images as they are. The linear layer that gives the
    scores belongs to the network, as timm expects.

    Args:
        network: the network.
        class_names: its classes as people call them.
        preprocessing: how images are prepared for it.
        class_ids: what data call the classes besides, such as WordNet ids; none, or as many as
            names.
        threshold: where an image may have several classes or none, the probability (0 to 1) from
            which one is answered.

    Raises:
        InputError: as many class names as the network has outputs are needed.
    """

    tasks = ("classification", "multi-label classification")
    preprocessing_kind = Preprocessing
    one_size = True

    preprocessing: Preprocessing

    def __init__(
        self,
        network: nn.Module,
        *,
        class_names: Sequence[str],
        preprocessing: Preprocessing,
        class_ids: Sequence[str] = (),
        threshold: float | None = None,
    ) -> None:
        super().__init__(network, class_names=class_names, preprocessing=preprocessing)
        if len(class_names) != network.num_classes:
            raise InputError(
                f"the network has {network.num_classes} outputs but {len(class_names)} class names "
                "were given"
            )
        if class_ids and len(class_ids) != len(class_names):
            raise InputError(
                f"{len(class_names)} class names but {len(class_ids)} class ids were given"
            )
        self.class_ids, self.threshold = tuple(class_ids), threshold

    @classmethod
    def build_network(cls, description: Mapping[str, Any]) -> nn.Module:
        """Return the network that `architecture` described, with fresh weights."""
        return build_network(description["architecture"])

    @classmethod
    def of(cls, network: Any, description: Mapping[str, Any]) -> "Classifier":
        """Return the classifier of a network that a description tells of."""
        return cls(
            network,
            class_names=description["class_names"],
            preprocessing=Preprocessing(**description["preprocessing"]),
            class_ids=description.get("class_ids", ()),
            threshold=description.get("threshold"),
        )

    def architecture(self) -> dict[str, Any]:
        """Return what `build_network` needs."""
        return {"architecture": describe_network(self.network)}

    def labels(self) -> dict[str, Any]:
        """Return the class ids where there are any, and the threshold."""
        ids = {"class_ids": list(self.class_ids)} if self.class_ids else {}
        return ids | ({} if self.threshold is None else {"threshold": self.threshold})

    @property
    def task(self) -> str:
        """The task that the model is for: with a threshold, an image may have several classes."""
        one, several = self.tasks
        return one if self.threshold is None else several

    @property
    def names_in_data(self) -> tuple[tuple[str, ...], ...]:
        """The class names, and the class ids where there are any."""
        return (self.class_names, self.class_ids) if self.class_ids else (self.class_names,)

    @property
    def has_one_answer(self) -> bool:
        """Each image gets one class, unless there is a threshold."""
        return self.threshold is None

    def view(self, image: Image.Image) -> View:
        """Return the crop that the network sees."""
        seen = self.preprocessing.crop(image)
        box = self.preprocessing.seen(image.height, image.width)
        return View(seen, self.preprocessing.normalise(seen), box)

    @torch.inference_mode()
    def answer(self, view: View, name: str) -> Classification | None:
        """Return the probabilities of the classes; None where they are NaN."""
        with evaluating(self) as model:
            logits = model(view.prepared[None].to(self.device, self.dtype))
        probabilities = self.probabilities(logits)[0]
        if not probabilities.isfinite().all():
            return None
        values = tuple(probabilities.tolist())
        return Classification(name, self.class_names, values, self.threshold)

    def probabilities(self, logits: Logits) -> Logits:
        """Probabilities of the classes: together 1.

        Or where an image may have several, each for itself.
        """
        scores = logits.float()
        return scores.softmax(-1) if self.threshold is None else scores.sigmoid()

    def forward(self, images: Images) -> Logits:
        """Class scores (B, classes) of prepared images (B, 3, H, W)."""
        return self.network(images)

    def predict(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        batch_size: int = 32,
        channels: Channels = "rgb",
        allow_urls: bool = False,
    ) -> list[Classification | Failure]:
        """Classify images of any size: of every kind that `data.sources` tells, one or many.

        An image that cannot be decoded gets a `Failure`; the others are answered all the same.

        Args:
            images: of an iterator one batch is held at a time.
            batch_size: images that the network sees at once.
            channels: order of the colours of arrays and tensors; "bgr" as OpenCV reads them.
            allow_urls: fetch images that are named by https addresses.

        Raises:
            InputError: what is no image and no collection of images.
        """
        sources = sources_of(images, channels=channels, allow_urls=allow_urls)
        return list(self.predict_stream(sources, batch_size=batch_size))

    def predict_stream(
        self, sources: Iterable[ImageSource], *, batch_size: int
    ) -> Iterator[Classification | Failure]:
        """As `predict`, one answer after the other, with one batch of images in memory."""
        check_minimum("batch-size", batch_size, 1)
        remaining = iter(sources)
        while group := list(islice(remaining, batch_size)):
            yield from self._answer_group(group)

    def _answer_group(self, group: Sequence[ImageSource]) -> Iterator[Classification | Failure]:
        """Answer the images of one batch."""
        reading = self.preprocessing.reading
        pictures: list[Picture | Failure] = []
        prepared: list[Tensor] = []
        for source in group:
            image = open_source(source, reading)
            if isinstance(image, Failure):
                pictures.append(image)
                continue
            pictures.append(picture_of(source, image, reading))
            prepared.append(self.preprocessing(image))
        answers = iter(self._probabilities(prepared))
        for source, picture in zip(group, pictures, strict=True):
            if isinstance(picture, Failure):
                yield picture
                continue
            probabilities, name = tuple(next(answers).tolist()), source_name(source)
            if math.isfinite(sum(probabilities)):
                yield Classification(name, self.class_names, probabilities, self.threshold, picture)
            else:
                yield Failure(name, NOT_FINITE)

    @torch.inference_mode()
    def _probabilities(self, prepared: list[Tensor]) -> Tensor:
        if not prepared:
            return torch.empty(0, len(self.class_names))
        with evaluating(self) as model:
            logits = model(torch.stack(prepared).to(self.device, self.dtype))
        return self.probabilities(logits).cpu()
