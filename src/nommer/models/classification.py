"""An image classifier: the network, the names of its classes, and how its images are prepared."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from nommer.data.parallel import count_readers, read_together
from nommer.data.sources import ImageSource, source_name, sources_of
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError, check_minimum
from nommer.models.ensemble_networks import ClassEnsemble
from nommer.models.evaluation_mode import evaluating
from nommer.models.familiarity import appearance, scores_and_features
from nommer.models.networks import build_network, describe_network
from nommer.models.recogniser import Recogniser, View, open_source, picture_of
from nommer.models.scored_images import ScoredImage
from nommer.models.thresholds import Threshold, in_words
from nommer.predictions import Classification, Failure, Picture
from nommer.predictions.failure import NOT_FINITE
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
    ensemble_network = ClassEnsemble
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
    def answer_options(self) -> frozenset[str]:
        """The options of a request that do something."""
        return Classification.options_for(multi_label=self.threshold is not None)

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
        (found,) = self._answers([view.prepared], self._least(None), refuse=True)
        return found.named(name, self.class_names, self.threshold)

    def probabilities(self, logits: Logits) -> Logits:
        """Probabilities of the classes, calibrated where a temperature is known: together 1.

        Or where an image may have several, each for itself.
        """
        scores = self.decisions.scaled(logits.float())
        return scores.softmax(-1) if self.threshold is None else scores.sigmoid()

    def forward(self, images: Images) -> Logits:
        """Class scores (B, classes) of prepared images (B, 3, H, W)."""
        return self.network(images)

    def predict(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        batch_size: int = 32,
        threshold: Threshold = None,
        refuse: bool = True,
        channels: Channels = "rgb",
        allow_urls: bool = False,
    ) -> list[Classification | Failure]:
        """Classify images of any size: of every kind that `data.sources` tells, one or many.

        An image that cannot be decoded gets a `Failure`; the others are answered all the same.

        Args:
            images: of an iterator one batch is held at a time.
            batch_size: images that the network sees at once.
            threshold: where an image may have several classes, the least probability (0 to 1) of
                one that is answered: a number, "best" or one per class by name; by default those
                found on validation images.
            refuse: answer none of the classes where the image is unlike those that were learned,
                if the model knows from where on.
            channels: order of the colours of arrays and tensors; "bgr" as OpenCV reads them.
            allow_urls: fetch images that are named by https addresses.

        Raises:
            InputError: what is no image and no collection of images.
        """
        sources = sources_of(images, channels=channels, allow_urls=allow_urls)
        options: dict[str, Any] = {"threshold": threshold, "refuse": refuse}
        return list(self.predict_stream(sources, batch_size=batch_size, **options))

    def answer_together(
        self, sources: Sequence[ImageSource], **asked: Any
    ) -> list[Classification | Failure]:
        """Classify images in one batch."""
        return list(self.predict_stream(sources, batch_size=len(sources), **asked))

    def predict_stream(
        self,
        sources: Iterable[ImageSource],
        *,
        batch_size: int,
        threshold: Threshold = None,
        refuse: bool = True,
    ) -> Iterator[Classification | Failure]:
        """As `predict`, one answer after the other, with one batch of images in memory."""
        check_minimum("batch-size", batch_size, 1)
        remaining, least = iter(sources), self._least(threshold)
        with ThreadPoolExecutor(count_readers()) as readers:
            while group := list(islice(remaining, batch_size)):
                read = read_together(self._read, group, readers)
                yield from self._answer_group(group, read, least, refuse=refuse)

    def _read(self, source: ImageSource) -> tuple[Picture, Tensor] | Failure:
        """Return the way back to an image, and what the network sees of it."""
        reading = self.preprocessing.reading
        image = open_source(source, reading)
        if isinstance(image, Failure):
            return image
        return picture_of(source, image, reading), self.preprocessing(image)

    def _answer_group(
        self,
        group: Sequence[ImageSource],
        read: Sequence[tuple[Picture, Tensor] | Failure],
        least: tuple[float, ...],
        *,
        refuse: bool,
    ) -> Iterator[Classification | Failure]:
        """Answer the images of one batch."""
        prepared = [one[1] for one in read if not isinstance(one, Failure)]
        answers = iter(self._answers(prepared, least, refuse=refuse))
        for source, one in zip(group, read, strict=True):
            if isinstance(one, Failure):
                yield one
                continue
            name = source_name(source)
            answer = next(answers).named(name, self.class_names, self.threshold, one[0])
            yield answer or Failure(name, NOT_FINITE)

    @torch.inference_mode()
    def _answers(
        self, prepared: list[Tensor], least: tuple[float, ...], *, refuse: bool
    ) -> list[ScoredImage]:
        if not prepared:
            return []
        images = torch.stack(prepared)
        with evaluating(self) as model:
            logits, unlike = model.scored(images, refuse=refuse)
        refused = [None] * len(images) if unlike is None else unlike.tolist()
        probabilities = self.probabilities(logits).cpu().tolist()
        return [ScoredImage(*pair, least) for pair in zip(probabilities, refused, strict=True)]

    def scored(self, images: Images, *, refuse: bool) -> tuple[Logits, Tensor | None]:
        """Return class scores (B, classes) of prepared images, and which of them are refused.

        The latter are (B,) bool on the CPU; None where the model does not know or is not asked.
        """
        if isinstance(self.network, ClassEnsemble):
            return self.network.scored(images, refuse=refuse)
        seen, familiarity = images.to(self.device, self.dtype), self.decisions.familiarity
        if familiarity is None or not refuse or self.threshold is not None:
            return self(seen), None
        if not familiarity.uses_features:
            return self(seen), familiarity.refused(appearance(images, None))
        logits, features = scores_and_features(self.network, seen)
        if features is None:
            raise InputError(
                "decisions: the model is to refuse images by features that its network does not "
                "tell; export it again, or answer with --refuse false"
            )
        return logits, familiarity.refused(appearance(images, features))

    def answers_how(self, threshold: Threshold = None, *, refuse: bool = True) -> str:
        """Return in words how it is decided which classes are answered; nothing of the usual."""
        if self.threshold is not None:
            found = self.decisions.thresholds(self.class_names, threshold)
            by = ", of the best F1 on validation images" if found and threshold is None else ""
            return f"threshold {in_words(self._least(threshold), self.class_names)}{by}"
        familiarity = self.decisions.familiarity
        if familiarity is None or not refuse:
            return ""
        return (
            "images unlike those that it learned are answered by none of these, as "
            f"{familiarity.rate:.0%} of its validation images are; --refuse false names a class "
            "all the same"
        )

    def _least(self, asked: Threshold) -> tuple[float, ...]:
        """Return the least probability of each class, where an image may have several.

        Raises:
            InputError: a threshold where each image has one class, or one that does not fit.
        """
        if self.threshold is None:
            if asked is not None:
                raise InputError("threshold: does nothing for images of one class each")
            return ()
        usual = (self.threshold,) * len(self.class_names)
        return self.decisions.thresholds(self.class_names, asked) or usual
