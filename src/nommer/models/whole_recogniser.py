"""A whole file in the place of a model for `nommer predict`: it prepares and decides by itself."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nommer.data.sources import ImageSource
from nommer.errors import InputError
from nommer.models.decisions import Decisions
from nommer.models.exported import OnnxRuntime
from nommer.models.exported_networks import ExportedNetwork
from nommer.models.recogniser import Recogniser
from nommer.models.thresholds import Threshold, in_words
from nommer.models.whole import WholeFile
from nommer.predictions import Classification, Detections, Failure, Segmentation
from nommer.settings.inference import Inference
from nommer.settings.pixel_range import Reading

Answer = Classification | Detections | Segmentation | Failure


@dataclass(frozen=True)
class Decoding:
    """The preparation that a whole file leaves to others: pixels stay as they are."""

    reading: Reading

    def __call__(self, image: Image.Image) -> Tensor:
        """Return an RGB image as float32 (3, H, W), from 0 to 1."""
        return self.normalise(image)

    def normalise(self, image: Image.Image) -> Tensor:
        """Return an RGB image as float32 (3, H, W), from 0 to 1."""
        return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255

    def denormalise(self, pixels: Any) -> Any:
        """Return the pixels."""
        return pixels

    def to_dict(self) -> dict[str, Any]:
        """Return how files become RGB, as plain values."""
        return {"background": list(self.reading.background), "range": self.reading.range}


class WholeNetwork(ExportedNetwork):
    """The network inside a whole file: it tells of itself, and cannot be asked alone."""

    def __init__(self, file: WholeFile) -> None:
        told = file.description
        description = {"class_names": told.class_names, "precision": told.precision}
        super().__init__(OnnxRuntime(file.session), description, file.path)
        self.has_masks = file.has_masks


class WholeRecogniser(Recogniser):
    """A whole file that answers streams of images as the model does that it was made from."""

    def __init__(self, file: WholeFile) -> None:
        told = file.description
        super().__init__(
            WholeNetwork(file),
            class_names=told.class_names,
            preprocessing=Decoding(told.reading),
        )
        self.file, self.threshold = file, told.threshold
        self.colours, self.category_ids = told.colours, told.category_ids
        self.class_ids = told.class_ids
        self.decisions = Decisions(class_thresholds=told.class_thresholds)

    @property
    def task(self) -> str:
        """The task that the file is for."""
        return self.file.description.task

    def answers_how(self, threshold: Threshold = None, *, refuse: bool = True) -> str:
        """Return in words from which score on something is answered; nothing where none is set."""
        least = self.decisions.thresholds(self.class_names, threshold)
        return f"threshold {in_words(least, self.class_names)}" if least else ""

    def predict_stream(
        self,
        sources: Iterable[ImageSource],
        *,
        threshold: Threshold = None,
        most: int | None = None,
        inference: Inference = Inference(),
        batch_size: int = 1,
        refuse: bool = True,
    ) -> Iterator[Answer]:
        """Yield the answers to images, one after the other; see `predict_stream` of the models.

        Raises:
            InputError: what was decided when the file was written.
        """
        if inference != Inference():
            raise InputError(
                f"{self.file.path}: sees images as it was exported to; leave --inference out, or "
                "give the model that it was made from"
            )
        self.file.check_limits(threshold=None, most=most)
        least = self.file.least(threshold)

        def answer(name: str, image: Image.Image) -> Any:
            return self.file.answer([(name, image)], least=least, most=most, refuse=refuse)[0]

        yield from self.answer_each(sources, answer)
