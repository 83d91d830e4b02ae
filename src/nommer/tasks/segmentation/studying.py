"""Segmentation in a study: changed pixels, and the class of every pixel."""

import zlib
from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
import torch

from nommer.data.masks import IGNORE
from nommer.models.recogniser import Recogniser
from nommer.nominations.patterns import Facet
from nommer.nominations.regions import (
    DISTANCES,
    OUTSIDE,
    PARTS,
    SIZES,
    border_distance,
    class_regions,
    distance_group,
)
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.studying import (
    BY_BORDERS,
    OBJECTS_AND_BACKGROUND,
    AnswerChange,
    KnownRegions,
    Study,
)


class ChangedPixels(AnswerChange):
    """The class answered for every pixel. The first answers are kept compressed."""

    def __init__(self) -> None:
        self.kept: dict[int, bytes] = {}
        self.changed: dict[int, tuple[int, int]] = {}

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        *_: Any,
        **__: Any,
    ) -> None:
        """Keep the labels of an image, or compare them with those kept."""
        labels, index = outputs.to(torch.uint8).cpu().numpy(), int(batch.indices[0])
        if index not in self.kept:
            self.kept[index] = zlib.compress(labels.tobytes(), 1)
            return
        before = np.frombuffer(zlib.decompress(self.kept[index]), np.uint8).reshape(labels.shape)
        self.changed[index] = int((before != labels).sum()), labels.size

    def resampled(self, evaluation: Evaluation, times: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return the mIoU."""
        return {"miou": resampled_miou(class_pixels(evaluation), times)}

    def difference(
        self, first: Evaluation, other: Evaluation
    ) -> Mapping[str, np.ndarray | float | None]:
        """Return the share of changed pixels of each image."""
        shares = np.array([changed / size for changed, size in self.changed.values()])
        self.changed.clear()
        return {"changed_pixels": shares}


def class_pixels(evaluation: Evaluation) -> np.ndarray:
    """Return what each image adds to the IoU of each class, (images, 3, classes) int64.

    Pixels found, true, and predicted.
    """
    return np.stack([score.classes for score in evaluation.answers])


def resampled_miou(pixels: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return (resamples,) mIoU of resampled data sets; NaN where no pixel counts.

    Args:
        pixels: (images, 3, classes), of `class_pixels`.
        times: (resamples, images) int64: how often each data set holds each image.
    """
    found, true, predicted = np.einsum(
        "ri,ijc->jrc", times.astype(float), pixels.astype(float), optimize=True
    )
    union = true + predicted - found
    occurs = union > 0
    ious = np.divide(found, union, out=np.zeros_like(union), where=occurs)
    with np.errstate(invalid="ignore"):
        return ious.sum(1) / occurs.sum(1)


class ClassesOfPixels(KnownRegions):
    """The class of every pixel; connected regions of a class stand for objects."""

    def __init__(self, model: Recogniser) -> None:
        names = model.class_names
        self.background = next(
            (label for label, name in enumerate(names) if name.lower() == "background"), None
        )
        self.facets = (Facet("class", names), Facet("distance", DISTANCES), Facet("size", SIZES))
        self.absent = {}
        if self.background is None:
            self.absent = {
                "part": "no class is called background, so nothing says which classes are objects"
            }
            self.parts = BY_BORDERS
        else:
            self.facets += (Facet("part", PARTS),)
            self.parts = OBJECTS_AND_BACKGROUND

    def groups(self, batch: Any, index: int, sample: Any, token: float) -> dict[str, np.ndarray]:
        """Return what the mask says; what it ignores is in no group."""
        mask = batch.masks[index].cpu().numpy()
        labels = np.where(mask == IGNORE, OUTSIDE, mask)
        known = labels != OUTSIDE
        distances = distance_group(border_distance(labels), token)
        groups = {"class": labels, "distance": np.where(known, distances, OUTSIDE)}
        if self.background is None:
            return {**groups, "size": class_regions(labels)}
        is_background = labels == self.background
        groups["part"] = np.where(known, is_background.astype(int), OUTSIDE)
        return {**groups, "size": class_regions(np.where(is_background, OUTSIDE, labels))}

    def file_size(self, batch: Any, index: int, seen: tuple[int, int]) -> tuple[int, int]:
        """Return the mask's own size."""
        height, width = batch.masks.shape[-2:]
        return height, width


STUDY = Study(
    changes=ChangedPixels,
    regions=ClassesOfPixels,
    wording={
        "class_of": "The class is the true one of every pixel.",
        "objects": "Everything but the class background is an object.",
        "borders": "two classes",
        "what": "connected regions of one class",
    },
)
