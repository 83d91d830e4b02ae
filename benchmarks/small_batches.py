"""Make batches of images in memory, with what a teacher says of them, cropped, mirrored and mixed.

Reads what `teacher_cache.py` wrote. A crop is cut from the image, from the teacher's maps and from
its answers alike, so that the teacher is asked once per image and not once per step.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SCALES = {"middle": 8, "last": 4}
"""Sides of the teacher's maps, by name."""
EVALUATION_BATCH = 250


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of a training batch; the names are those of `nommer train`."""

    scale: tuple[float, float] = (0.25, 1.0)
    """Area of a crop, in areas of the image."""
    ratio: tuple[float, float] = (0.75, 4 / 3)
    """Width of a crop over its height."""
    mixup: float = 0.2
    """Parameter of mixup's beta distribution."""
    cutmix: float = 1.0
    """Parameter of CutMix's."""
    mixup_prob: float = 0.5
    """Part of the batches that are mixed, one half by each."""


@dataclass
class Batch:
    """A batch as a step sees it."""

    images: Tensor
    """(B, 3, size, size), from -1 to 1, in channels-last memory."""
    targets: Tensor
    """(B, classes): one-hot, or mixed."""
    answers: Tensor | None = None
    """(B, classes): the teacher's scores of each image, unmixed."""
    maps: dict[str, Tensor] = field(default_factory=dict)
    """The teacher's maps (B, channels, side, side), mixed as the images."""
    mixed: tuple[Tensor, Tensor] | None = None
    """Of a mixed batch the order of the partners, and of each image the part (B,) that stayed."""


class Part:
    """The training or validation images of some classes, and of training images what the teacher
    says of them.

    Args:
        folder: a part that `teacher_cache.py` wrote.
        every: of the classes every so-many-th; 1 for all.
        teacher: files of the teacher that are wanted, of "answers", "middle", "last".
    """

    def __init__(self, folder: Path, every: int, teacher: tuple[str, ...] = ()) -> None:
        labels = np.load(folder / "labels.npy")
        self.classes = np.arange(labels.max() + 1)[::every]
        kept = np.flatnonzero(labels % every == 0)
        self.labels = torch.from_numpy(labels[kept] // every)
        self.pixels = self._tensor(folder / "images.npy", kept)
        self.maps = {name: self._tensor(folder / f"{name}.npy", kept) for name in teacher}
        if "answers" in self.maps:
            self.maps["answers"] = self.maps["answers"][..., ::every].contiguous()

    def _tensor(self, file: Path, kept: np.ndarray) -> Tensor:
        values = np.load(file, mmap_mode="r")
        return torch.from_numpy(np.array(values if len(kept) == len(values) else values[kept]))

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, batch: int, augmentation: Augmentation) -> Iterator[Batch]:
        """Yield one epoch in random order, from torch's own generator.

        The last, incomplete batch is left out.
        """
        for chosen in torch.randperm(len(self)).split(batch):
            if len(chosen) == batch:
                yield self._training_batch(chosen, size, augmentation)

    def _training_batch(self, chosen: Tensor, size: int, augmentation: Augmentation) -> Batch:
        crops = random_crops(len(chosen), augmentation)
        targets = F.one_hot(self.labels[chosen], len(self.classes)).float()
        made = Batch(cut(prepared(self.pixels[chosen]), crops, size), targets)
        for name, values in self.maps.items():
            maps = values[chosen].permute(0, 3, 1, 2).float()
            if name == "answers":
                made.answers = cut(maps, crops, 4).mean((2, 3))
            else:
                made.maps[name] = cut(maps, crops, SCALES[name])
        if torch.rand(()) < augmentation.mixup_prob:
            mix(made, augmentation)
        made.images = made.images.contiguous(memory_format=torch.channels_last)
        return made

    def whole(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images as they are, with their labels."""
        for begin in range(0, len(self), EVALUATION_BATCH):
            images = prepared(self.pixels[begin : begin + EVALUATION_BATCH])
            if size != images.shape[-1]:
                images = F.interpolate(images, size=(size, size), mode="bicubic", antialias=True)
            labels = self.labels[begin : begin + EVALUATION_BATCH]
            yield images.contiguous(memory_format=torch.channels_last), labels


MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def prepared(pixels: Tensor) -> Tensor:
    """Bytes (B, H, W, 3) as normalised images (B, 3, H, W), ImageNet's mean and deviation."""
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return pixels.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(deviation)


def random_crops(batch: int, augmentation: Augmentation) -> Tensor:
    """Affine matrices (B, 2, 3) of crops inside of the image, half of them mirrored."""
    area = torch.empty(batch).uniform_(*augmentation.scale)
    ratio = torch.empty(batch).uniform_(*(float(np.log(side)) for side in augmentation.ratio)).exp()
    width, height = ((area * part).sqrt().clamp(max=1) for part in (ratio, 1 / ratio))
    matrices = torch.zeros(batch, 2, 3)
    matrices[:, 0, 0] = width * torch.randint(0, 2, (batch,)).mul(2).sub(1)
    matrices[:, 1, 1] = height
    matrices[:, 0, 2] = (torch.rand(batch) * 2 - 1) * (1 - width)
    matrices[:, 1, 2] = (torch.rand(batch) * 2 - 1) * (1 - height)
    return matrices


def cut(maps: Tensor, crops: Tensor, side: int) -> Tensor:
    """Crops (B, channels, side, side) of maps (B, channels, H, W), bilinear."""
    grid = F.affine_grid(crops, [len(maps), 1, side, side], align_corners=False)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def mix(batch: Batch, augmentation: Augmentation) -> None:
    """Mixup or CutMix of every image with another one, in place; the answers stay, to be mixed as
    probabilities.
    """
    partners = torch.randperm(len(batch.images))
    cuts = bool(torch.rand(()) < 0.5)
    alpha = augmentation.cutmix if cuts else augmentation.mixup
    share = float(np.random.default_rng(int(torch.randint(2**31, ()))).beta(alpha, alpha))
    stays = box_mask(batch.images.shape[-1], share) if cuts else torch.full((1, 1, 1, 1), share)
    batch.images = torch.lerp(batch.images[partners], batch.images, stays)
    for name, maps in batch.maps.items():
        weights = F.adaptive_avg_pool2d(stays, SCALES[name]) if cuts else stays
        batch.maps[name] = torch.lerp(maps[partners], maps, weights)
    kept = stays.mean()
    batch.targets = torch.lerp(batch.targets[partners], batch.targets, kept)
    batch.mixed = partners, kept


def box_mask(side: int, share: float) -> Tensor:
    """Return (1, 1, side, side): 1 where an image stays, 0 in a box of `1 - share` of its area.

    The box is cut off at the edge.
    """
    length = int(side * (1 - share) ** 0.5)
    row, column = (int(torch.randint(side, ())) for _ in range(2))
    mask = torch.ones(1, 1, side, side)
    mask[
        ...,
        max(0, row - length // 2) : row + (length + 1) // 2,
        max(0, column - length // 2) : column + (length + 1) // 2,
    ] = 0
    return mask
