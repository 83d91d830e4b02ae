"""Whether an exported model computes the same as the one it was made from, on real images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from nommer.deploy.capture import Exportable, ImageSize, image_size
from nommer.errors import InputError
from nommer.heads.segmentation import Segmenter
from nommer.shapes import Images

TOLERANCE = 1e-4
"""Largest difference of a class score, relative to the largest score of the image (at least 1)."""

BATCHES, DENSE_BATCHES = (1, 2, 5, 16), (1, 3)
"""Batch sizes in which the images are compared, those of a classifier and those of a segmenter."""

PARITY_IMAGES, DENSE_PARITY_IMAGES = 32, 4
"""Images on which a classifier is compared, and a segmenter, which answers for every pixel."""

ODD_PIXELS = 1e-3
"""Share of the pixels of a segmenter that may differ more: where two contexts, or two classes, are equally good but for
rounding, the other one may win, and changes the pixels around it."""


@dataclass(frozen=True)
class ParityReport:
    """How closely an exported model follows the one it was made from, on real images."""

    images: int
    batches: tuple[int, ...]
    """Batch sizes in which all images were run."""
    sizes: tuple[tuple[int, int], ...]
    """Heights and widths at which all images were run in all batch sizes."""
    largest_difference: float
    """Of any class score, relative to the image's largest (at least 1)."""
    tolerance: float
    within_tolerance: int
    """Answers none of whose scores differs by more than the tolerance, of `runs`."""
    same_top1: int
    """Answers whose most probable class is the same, of `runs`."""
    runs: int
    """Answers compared: one per image, size and batch size, of a segmenter one per pixel."""
    needed: float
    """Share of the answers that must be the same."""
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def parity_images(model: Exportable, paths: Sequence[Path], *, wanted: int | None = None) -> Images:
    """Some of the images in `paths`, evenly chosen, as the exported model takes them; for a segmenter their middle.

    Raises:
        InputError: none of those looked at can be read.
    """
    wanted = wanted or (DENSE_PARITY_IMAGES if isinstance(model, Segmenter) else PARITY_IMAGES)
    prepared = (model.prepare(path) for path in paths[:: max(1, len(paths) // wanted)])
    images = list(islice((image for image in prepared if isinstance(image, Tensor)), wanted))
    if not images:
        raise InputError("none of the images looked at can be read; give --data with images to compare on")
    side = image_size(model, dynamic=False).usual
    return torch.stack([center_crop(image, [side, side]) for image in images])


@torch.inference_mode()
def compare(reference: Exportable, exported: Exportable, images: Images, size: ImageSize) -> ParityReport:
    """Run both on the same prepared images, in batches of several sizes, and resized where any size will do."""
    reference, dense = reference.eval(), isinstance(reference, Segmenter)
    batches, needed = (DENSE_BATCHES, 1 - ODD_PIXELS) if dense else (BATCHES, 1.0)
    largest, within, same, runs = 0.0, 0, 0, 0
    for sides in size.examples:
        seen = images if sides == images.shape[-2:] else F.interpolate(images, sides, mode="bilinear", antialias=True)
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
