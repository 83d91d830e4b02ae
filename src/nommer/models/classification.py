"""An image classifier: the network, the names of its classes, and how its images are prepared."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from nommer.data.sources import ImageSource, source_name, sources_of
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError, check_minimum
from nommer.models.recogniser import NO_NUMBERS, Recogniser, evaluating
from nommer.predictions import Classification, Failure
from nommer.shapes import Images, Logits


class Classifier(Recogniser):
    """A NomMer with class names and preprocessing.

    `forward` is the network's, `predict` takes images as they are.

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
        self, images: ImageSource | Sequence[ImageSource], *, batch_size: int = 32
    ) -> list[Classification | Failure]:
        """Classify images of any size: files, PIL images, arrays or tensors, one or many.

        An image that cannot be decoded gets a `Failure`; the others are answered all the same.
        """
        return list(self.predict_stream(sources_of(images), batch_size=batch_size))

    def predict_stream(
        self, sources: Sequence[ImageSource], *, batch_size: int
    ) -> Iterator[Classification | Failure]:
        """As `predict`, one answer after the other, with one batch of images in memory."""
        check_minimum("batch-size", batch_size, 1)
        for start in range(0, len(sources), batch_size):
            group = sources[start : start + batch_size]
            prepared = [self.prepare(source) for source in group]
            answers = iter(
                self._probabilities([image for image in prepared if isinstance(image, Tensor)])
            )
            for source, image in zip(group, prepared, strict=True):
                if isinstance(image, Failure):
                    yield image
                    continue
                probabilities = tuple(next(answers).tolist())
                if math.isfinite(sum(probabilities)):
                    yield Classification(
                        source_name(source), self.class_names, probabilities, self.threshold
                    )
                else:
                    yield Failure(source_name(source), NO_NUMBERS)

    @torch.inference_mode()
    def _probabilities(self, prepared: list[Tensor]) -> Tensor:
        if not prepared:
            return torch.empty(0, len(self.class_names))
        with evaluating(self):
            return self.probabilities(self(torch.stack(prepared).to(self.device, self.dtype))).cpu()
