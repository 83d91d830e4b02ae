"""Detection in an export: the boxes, scores and classes of the objects in one image."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou

from nommer.errors import InputError
from nommer.models.detection import Detector
from nommer.models.exported_networks import OBJECTS
from nommer.tasks.detection.graph import CELLS_OF_MASKS, ObjectsOfOne
from nommer.tasks.detection.matching import SAME_PLACE
from nommer.tasks.exporting import (
    TOLERANCE,
    ParityReport,
    Prepared,
    Quantising,
    TaskExport,
)
from nommer.tasks.image_size import ImageSize
from nommer.tasks.whole import WholeExport

OBJECT_SCALES = (1, 0.8, 1.25)
"""Times their own size at which a detector is compared on the images."""

ODD_OBJECTS = 1e-2
"""Share of the objects that may be missing or added: where boxes overlap by exactly as much as
makes one a double of the other, or a score is exactly the least, rounding decides."""


class DetectionExport(TaskExport):
    """Objects of one image at a time, which may have any size."""

    outputs = OBJECTS
    parity_images = 4
    open_batch = False
    coarsest_cells = 2  # one more map than the backbone's
    quantising = Quantising(measure="box_ap", calibration_images=32, agreement_images=16, batch=1)

    @property
    def whole(self) -> WholeExport:
        """Return the parts around the network."""
        from nommer.tasks.detection.whole import WholeDetection  # noqa: PLC0415 - for whole files alone

        return WholeDetection()

    def image_size(self, model: Detector, *, dynamic: bool) -> ImageSize:
        """Return an open size in any case, for every image has its own."""
        return ImageSize(model.preprocessing.short_side, self.smallest(model))

    def notice(self, model: Detector, *, dynamic: bool) -> str:
        """Say that the size is open in any case."""
        said = "--dynamic-size: a detector is exported for images of any size in any case"
        return said if dynamic else ""

    def graph(self, model: Detector) -> nn.Module:
        """Return the objects of one image, without masks."""
        return ObjectsOfOne(model)

    def whole_graph(self, model: Detector) -> tuple[nn.Module, tuple[str, ...]]:
        """Return the objects of one image, with masks where the model has them."""
        masks = model.network.has_masks
        names = (*OBJECTS, CELLS_OF_MASKS) if masks else OBJECTS
        return ObjectsOfOne(model, masks=masks), names

    def describe(self, model: Detector) -> dict[str, Any]:
        """Return how boxes are chosen."""
        return {"protocol": asdict(model.network.protocol)}

    def left_out(self, model: Detector, size: ImageSize) -> tuple[str, ...]:
        """List masks, the way back to the image's size, and batches."""
        masks = ("masks of the objects: the file finds classes and boxes",)
        return (
            *(masks if model.network.has_masks else ()),
            "bringing boxes to the size of the original image",
            "batches: one image at a time",
        )

    def fit(self, model: Detector, images: Mapping[Any, Tensor]) -> dict[Any, Tensor]:
        """Return each image at its own size."""
        return dict(images)

    def together(self, images: list[Tensor]) -> Prepared:
        """Return images of different sizes, one by one."""
        return images

    @torch.inference_mode()
    def agreement(self, reference: Detector, other: Detector, images: list[Tensor]) -> float:
        """Return the share of the objects that are at the same place and of the same class."""
        same = total = 0
        for image in images:
            expected, found = (_found(model, image) for model in (reference, other))
            overlaps = _pair(expected, found, max(image.shape[-2:]))[1]
            same += int((overlaps > SAME_PLACE).sum())
            total += max(len(expected["scores"]), len(found["scores"]))
        return same / total if total else 1.0

    def compare(
        self, reference: Detector, exported: Detector, images: Prepared, size: ImageSize
    ) -> ParityReport:
        """Compare objects one by one: of the same class at the same place with the same score.

        Raises:
            InputError: a detector that finds nothing in the images.
        """
        reference = reference.eval()
        largest, within, same, runs, sizes = 0.0, 0, 0, 0, set()
        for seen in _at_scales(list(images), size.smallest or 0):
            expected, found = (_found(model, seen) for model in (reference, exported))
            differences, overlaps = _pair(expected, found, max(seen.shape[-2:]))
            largest = max([largest, *differences.tolist()])
            within += int((differences <= TOLERANCE).sum())
            same += int((overlaps > SAME_PLACE).sum())
            runs += max(len(expected["scores"]), len(found["scores"]))
            sizes.add((seen.shape[-2], seen.shape[-1]))
        if not runs:
            raise InputError(
                "nothing is found in any of the images looked at; give --data with images that "
                "show objects"
            )
        return ParityReport(
            images=len(images),
            batches=(1,),
            sizes=tuple(sorted(sizes)),
            largest_difference=largest,
            tolerance=TOLERANCE,
            within_tolerance=within,
            same_top1=same,
            runs=runs,
            needed=1 - ODD_OBJECTS,
            passed=min(within, same) >= (1 - ODD_OBJECTS) * runs,
        )


def _found(model: Detector, image: Tensor) -> dict[str, Tensor]:
    """Return the objects in a prepared image, by the protocol's numbers."""
    protocol = model.network.protocol
    found = model.network.detect([image], threshold=protocol.threshold, most=protocol.most)
    return found[0]


def _at_scales(images: list[Tensor], smallest: int) -> Iterator[Tensor]:
    """Yield every image at every scale, no side below `smallest`."""
    for factor in OBJECT_SCALES:
        for image in images:
            sides = [max(smallest, round(factor * side)) for side in image.shape[-2:]]
            if sides == list(image.shape[-2:]):
                yield image
            else:
                yield F.interpolate(image[None], sides, mode="bilinear", antialias=True)[0]


def _pair(
    expected: dict[str, Tensor], found: dict[str, Tensor], side: int
) -> tuple[Tensor, Tensor]:
    """Return for each expected object with one at its place how much that differs, and their IoU.

    Differences are of score, and of box in sides of the image.
    """
    if not len(expected["scores"]) or not len(found["scores"]):
        return torch.zeros(0), torch.zeros(0)
    other = expected["labels"][:, None] != found["labels"]
    overlaps, at = box_iou(expected["boxes"], found["boxes"]).masked_fill(other, 0).max(1)
    scores = (expected["scores"] - found["scores"][at]).abs()
    boxes = (expected["boxes"] - found["boxes"][at]).abs().amax(1) / side
    paired = overlaps > SAME_PLACE
    return torch.maximum(scores, boxes)[paired], overlaps[paired]
