"""Detection in a study: kept objects, and where the true ones lie."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, cast

import lightning as L
import numpy as np
import torch

from nommer.data.formats.detection import as_coco
from nommer.data.formats.objects import DetectionFolders, DetectionSample, Objects, masks_of
from nommer.models.detection import Detector
from nommer.models.recogniser import Recogniser
from nommer.nominations.patterns import Facet
from nommer.nominations.regions import (
    OUTSIDE,
    PARTS,
    SIDED_DISTANCES,
    SIZES,
    look_up,
    object_map,
    sided_distance_group,
    size_group,
)
from nommer.predictions.detection import SURE
from nommer.tasks.detection.loss import DetectionModule
from nommer.tasks.detection.matching import ImageAnswer, match
from nommer.tasks.detection.metrics import coco_evaluation
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.studying import OBJECTS_AND_BACKGROUND, AnswerChange, KnownRegions, Study


class ChangedObjects(AnswerChange):
    """The objects answered with a score of 0.5 or more."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember what was evaluated, and how."""
        self.module = cast("DetectionModule", pl_module)

    def resampled(self, evaluation: Evaluation, times: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return average precision of the boxes, and of the masks where there are any."""
        found = resampled_precisions(self.module.truth, self.module.model, evaluation, times)
        return {name: values for name, values in found.items() if name in ("box_ap", "mask_ap")}

    def difference(
        self, first: Evaluation, other: Evaluation
    ) -> Mapping[str, np.ndarray | float | None]:
        """Return the share of them that are found again.

        Same class, IoU of boxes 0.5 or more, score 0.5 or more.
        """
        pairs = [_as_truth(*pair) for pair in zip(first.answers, other.answers, strict=True)]
        matches = match(pairs)
        return {
            "answers_kept": float(matches.found.sum() / matches.objects)
            if matches.objects
            else None
        }


def _as_truth(before: ImageAnswer, after: ImageAnswer) -> ImageAnswer:
    """Return the sure answers of `after`, to be matched with those of `before`."""
    sure, known = after.scores >= SURE, before.scores >= SURE
    return ImageAnswer(
        after.image_id,
        boxes=after.boxes[sure],
        scores=after.scores[sure],
        labels=after.labels[sure],
        true_boxes=before.boxes[known],
        true_labels=before.labels[known],
        crowd=torch.zeros(int(known.sum()), dtype=torch.bool),
    )


def resampled_precisions(
    data: DetectionFolders, model: Detector, evaluation: Evaluation, times: np.ndarray
) -> dict[str, np.ndarray]:
    """Return `resampled_precision` of the boxes, and of the masks where there are any.

    Called "box_ap", "box_ap50", "box_ap75", "mask_ap" and so on.
    """
    truth, network = as_coco(data, evaluation.samples), model.network
    results = [entry for answer in evaluation.answers for entry in answer.results]
    kinds: dict[str, Literal["bbox", "segm"]] = {"box": "bbox"}
    kinds |= {"mask": "segm"} if network.has_masks and data.has_masks else {}
    most = network.protocol.most
    return {
        f"{kind}_{name}": values
        for kind, coco in kinds.items()
        for name, values in resampled_precision(truth, results, coco, times, most=most).items()
    }


def resampled_precision(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: Literal["bbox", "segm"],
    times: np.ndarray,
    *,
    most: int,
) -> dict[str, np.ndarray]:
    """Return average precision of resampled data sets, (resamples,) each.

    "ap" over IoU 0.5 to 0.95, "ap50" and "ap75".

    NaN where there is nothing to find. Nothing is matched again: the curves of every resampled data
    set are drawn from what COCO's evaluator matched in each image.

    Args:
        truth: content of a COCO JSON file.
        results: detections, as `average_precision` takes them.
        kind: what is compared.
        times: (resamples, images) int64: how often each data set holds each image, in the order
            of their ids.
        most: detections per image that count, the surest ones.
    """
    evaluation = coco_evaluation(truth, results, kind, separate_eval=True)
    params = evaluation.params
    params.maxDets, params.areaRng, params.areaRngLbl = (
        [most],
        params.areaRng[:1],
        params.areaRngLbl[:1],
    )
    evaluation.evaluate()
    of_images = np.array(evaluation._evalImgs_cpp, object).reshape(
        len(truth["categories"]), -1
    )  # as it matched them
    values: dict[str, list[float]] = {"ap": [], "ap50": [], "ap75": []}
    for of_set in times:
        if not of_set.any():  # nothing to find in a data set without images
            for found in values.values():
                found.append(np.nan)
            continue
        images = np.repeat(np.arange(len(of_set)), of_set)
        evaluation._paramsEval.imgIds = images.tolist()  # whose number is what counts
        evaluation._evalImgs_cpp = of_images[:, images].ravel().tolist()
        evaluation.accumulate()
        precision = evaluation.eval["precision"]
        for name, part in zip(values, (precision, precision[:1], precision[5:6]), strict=True):
            valid = part[part > -1]
            values[name].append(valid.mean() if valid.size else np.nan)
    return {name: np.array(found) for name, found in values.items()}


class ObjectsOfImage(KnownRegions):
    """The true objects by their masks, or by their boxes where not all have masks."""

    def __init__(self, model: Recogniser) -> None:
        self.facets = (
            Facet("class", model.class_names),
            Facet("part", PARTS),
            Facet("distance", SIDED_DISTANCES),
            Facet("size", SIZES),
        )
        self.parts, self.absent = OBJECTS_AND_BACKGROUND, {}

    def groups(
        self, batch: Any, index: int, sample: DetectionSample, token: float
    ) -> dict[str, np.ndarray]:
        """Return which smallest object each pixel lies in; crowds are in no group."""
        objects, size = sample.objects, self.file_size(batch, index, (0, 0))
        inside = partial(object_pixels, objects, size=size)
        owner = object_map(inside, objects.areas, objects.crowd, size)
        return {
            "class": look_up(owner, [*objects.labels.tolist(), OUTSIDE]),
            "part": look_up(owner, [*(0 for _ in range(len(objects))), 1]),
            "distance": sided_distance_group(owner, len(objects), token),
            "size": look_up(owner, [*size_group(objects.areas).tolist(), OUTSIDE]),
        }

    def file_size(self, batch: Any, index: int, seen: tuple[int, int]) -> tuple[int, int]:
        """Return the image file's own size."""
        return int(batch.sizes[index][0]), int(batch.sizes[index][1])


def object_pixels(objects: Objects, index: int, *, size: tuple[int, int]) -> np.ndarray:
    """Return where an object is, (H, W) bool.

    Where not all have masks, the pixels whose centre lies in its box.
    """
    if objects.have_masks.all():
        return masks_of(objects.take(np.arange(len(objects)) == index), *size)[0].astype(bool)
    left, upper, right, lower = objects.boxes[index]
    rows, columns = (np.arange(side) + 0.5 for side in size)
    return ((rows >= upper) & (rows < lower))[:, None] & ((columns >= left) & (columns < right))


STUDY = Study(
    changes=ChangedObjects,
    regions=ObjectsOfImage,
    wording={
        "class_of": "The class is that of the smallest object a pixel lies in.",
        "objects": "Objects are what the data say, by their masks where all have one and by their "
        "boxes otherwise.",
        "borders": "an object, inside and outside of it",
        "what": "objects",
    },
)
