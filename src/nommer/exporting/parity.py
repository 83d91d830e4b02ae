"""Whether an exported model computes the same as the one it was made from, on real images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou
from torchvision.transforms.v2.functional import center_crop

from nommer.errors import InputError
from nommer.exporting.capture import Exportable, ImageSize, image_size
from nommer.models.classification import Classifier
from nommer.models.detection import Detector
from nommer.models.segmentation import Segmenter
from nommer.shapes import Images

TOLERANCE = 1e-4
"""Largest difference of a class score, relative to the largest score of the image (at least 1)."""

BATCHES, DENSE_BATCHES = (1, 2, 5, 16), (1, 3)
"""Batch sizes in which the images are compared, those of a classifier and those of a segmenter."""

PARITY_IMAGES, DENSE_PARITY_IMAGES = 32, 4
"""Images on which a classifier is compared, and a segmenter, which answers for every pixel."""

Prepared = Images | list[Tensor]
"""Prepared images: (N, 3, height, width), of a detector (3, h, w) each."""

OBJECT_SCALES = (1, 0.8, 1.25)
"""Times their own size at which a detector is compared on the images."""

SAME_PLACE = 0.9
"""IoU above which two boxes of the same class are one object's."""

ODD_OBJECTS = 1e-2
"""Share of the objects that may be missing or added: where boxes overlap by exactly as much as
makes one a double of the other, or a score is exactly the least, rounding decides."""

ODD_PIXELS = 1e-3
"""Share of the pixels of a segmenter that may differ more: where two contexts, or two classes, are
equally good but for rounding, the other one may win, and changes the pixels around it."""


@dataclass(frozen=True)
class ParityReport:
    """How closely an exported model follows the one it was made from, on real images."""

    images: int
    batches: tuple[int, ...]
    """Batch sizes in which all images were run."""
    sizes: tuple[tuple[int, int], ...]
    """Heights and widths at which all images were run in all batch sizes."""
    largest_difference: float
    """Of any class score, relative to the image's largest (at least 1); of objects, of scores and
    of boxes in sides of the image."""
    tolerance: float
    within_tolerance: int
    """Answers none of whose scores differs by more than the tolerance, of `runs`."""
    same_top1: int
    """Answers whose most probable class is the same, of `runs`; objects of the same class at the
    same place.
    """
    runs: int
    """Answers compared: one per image, size and batch size, of a segmenter one per pixel, of a
    detector one per object."""
    needed: float
    """Share of the answers that must be the same."""
    passed: bool
    left_out: tuple[str, ...] = ()
    """What the model does beyond what was exported and compared: left to whoever runs the file, or
    not there at all.
    """

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def parity_images(model: Exportable, paths: Sequence[Path]) -> Prepared:
    """The images of `prepare_some` on which a model is compared.

    Raises:
        InputError: none of those looked at can be read.
    """
    wanted = PARITY_IMAGES if isinstance(model, Classifier) else DENSE_PARITY_IMAGES
    images = list(prepare_some(model, paths, wanted).values())
    return images if isinstance(model, Detector) else torch.stack(images)


def prepare_some(model: Exportable, paths: Sequence[Path], wanted: int) -> dict[Path, Tensor]:
    """So many of the images in `paths`, or all, evenly chosen, each (3, height, width) as the
    exported model takes it.

    Of a segmenter their middle; of a detector each at its own size. Where some cannot be read,
    others take their place.

    Raises:
        InputError: none of those looked at can be read.
    """
    chosen = set(_evenly(len(paths), wanted))
    rest = [path for index, path in enumerate(paths) if index not in chosen]
    looked_at = [paths[index] for index in sorted(chosen)] + [
        rest[index] for index in _evenly(len(rest), wanted)
    ]
    prepared = ((path, model.prepare(path)) for path in looked_at)
    images = dict(
        islice(((path, image) for path, image in prepared if isinstance(image, Tensor)), wanted)
    )
    if not images:
        raise InputError(
            "none of the images looked at can be read; give --data with images to compare on"
        )
    if isinstance(model, Detector):
        return images
    side = image_size(model, dynamic=False).usual
    return {path: center_crop(image, [side, side]) for path, image in images.items()}


def _evenly(count: int, wanted: int) -> list[int]:
    """So many indices of `count` things, or all where there are no more, at even distances from the
    first on.
    """
    chosen = min(wanted, count)
    return [number * count // chosen for number in range(chosen)]


@torch.inference_mode()
def compare(
    reference: Exportable, exported: Exportable, images: Prepared, size: ImageSize
) -> ParityReport:
    """Run both on the same prepared images, in batches of several sizes, and resized where any size
    will do.

    Raises:
        InputError: a detector that finds nothing in them, of which nothing could be compared.
    """
    if isinstance(reference, Detector) and isinstance(exported, Detector):
        return _compare_objects(reference.eval(), exported, list(images), size.smallest or 0)
    images = cast("Tensor", images)
    reference, dense = reference.eval(), isinstance(reference, Segmenter)
    batches, needed = (DENSE_BATCHES, 1 - ODD_PIXELS) if dense else (BATCHES, 1.0)
    largest, within, same, runs = 0.0, 0, 0, 0
    for sides in size.examples:
        seen = (
            images
            if sides == images.shape[-2:]
            else F.interpolate(images, sides, mode="bilinear", antialias=True)
        )
        for part in (part for batch in batches for part in torch.split(seen, batch)):
            expected, found = reference(part), exported(part)
            scale = expected.abs().flatten(1).amax(1).clamp_min(1)
            differences = (expected - found).abs().amax(1).reshape(len(part), -1) / scale[:, None]
            largest = max(largest, differences.max().item())
            within += int((differences <= TOLERANCE).sum())
            same += int((expected.argmax(1) == found.argmax(1)).sum())
            runs += differences.numel()
    return ParityReport(
        images=len(images),
        batches=batches,
        sizes=size.examples,
        largest_difference=largest,
        tolerance=TOLERANCE,
        within_tolerance=within,
        same_top1=same,
        runs=runs,
        needed=needed,
        passed=min(within, same) >= needed * runs,
    )


def _compare_objects(
    reference: Detector, exported: Detector, images: list[Tensor], smallest: int
) -> ParityReport:
    """Objects one by one.

    Of the same class at the same place with the same score, in the other's answer too.
    """
    largest, within, same, runs, sizes = 0.0, 0, 0, 0, []
    for factor in OBJECT_SCALES:
        for image in images:
            sides = [max(smallest, round(factor * side)) for side in image.shape[-2:]]
            seen = image
            if sides != list(image.shape[-2:]):
                seen = F.interpolate(image[None], sides, mode="bilinear", antialias=True)[0]
            protocol = reference.network.protocol
            expected, found = (
                model.network.detect([seen], threshold=protocol.threshold, most=protocol.most)[0]
                for model in (reference, exported)
            )
            differences, overlaps = _pair(expected, found, max(sides))
            largest = max([largest, *differences.tolist()])
            within += int((differences <= TOLERANCE).sum())
            same += int((overlaps > SAME_PLACE).sum())
            runs += max(len(expected["scores"]), len(found["scores"]))
            sizes.append((seen.shape[-2], seen.shape[-1]))
    if not runs:
        raise InputError(
            "nothing is found in any of the images looked at; give --data with images that show "
            "objects"
        )
    return ParityReport(
        images=len(images),
        batches=(1,),
        sizes=tuple(sorted(set(sizes))),
        largest_difference=largest,
        tolerance=TOLERANCE,
        within_tolerance=within,
        same_top1=same,
        runs=runs,
        needed=1 - ODD_OBJECTS,
        passed=min(within, same) >= (1 - ODD_OBJECTS) * runs,
    )


def _pair(
    expected: dict[str, Tensor], found: dict[str, Tensor], side: int
) -> tuple[Tensor, Tensor]:
    """For each expected object that has one at its place.

    How much it differs (of score, of box in sides), and IoU.
    """
    if not len(expected["scores"]) or not len(found["scores"]):
        return torch.zeros(0), torch.zeros(0)
    other = expected["labels"][:, None] != found["labels"]
    overlaps, at = box_iou(expected["boxes"], found["boxes"]).masked_fill(other, 0).max(1)
    scores = (expected["scores"] - found["scores"][at]).abs()
    boxes = (expected["boxes"] - found["boxes"][at]).abs().amax(1) / side
    paired = overlaps > SAME_PLACE
    return torch.maximum(scores, boxes)[paired], overlaps[paired]
