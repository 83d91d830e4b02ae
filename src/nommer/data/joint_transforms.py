"""From a decoded image and its mask to tensors that still lie on each other.

Fixed for evaluation, random for training.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torchvision import tv_tensors
from torchvision.transforms import v2

from nommer.data.masks import IGNORE
from nommer.data.transforms import ResizedWhole, fit_size
from nommer.errors import InputError
from nommer.settings.segmentation import JointAugmentation

JointTransform = Callable[[Image.Image, np.ndarray], tuple[Tensor, Tensor]]
"""From an RGB image, (H, W) uint8 labels to (3, S, S) float32, normalised, and (S, S) int64."""

_TRIES = 10
"""Crops looked at until one is varied enough."""


@dataclass(frozen=True, kw_only=True)
class DensePreprocessing(ResizedWhole):
    """Preparation of an image as the input of a model that answers for every pixel.

    Travels with the weights.

    Raises:
        InputError: a value out of range; the message names it.
    """

    image_size: int = 512
    """Side of the training crops, and of the windows where a large image is worked on in parts, in
    pixels.
    """
    short_side: int | None = None
    """Images are resized so that their shorter side has this many pixels; by default they keep
    their own size.
    """
    long_side: int | None = None
    """The longer side gets at most this many pixels, whatever becomes of the shorter; by default
    any number.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size < 32:
            raise InputError(f"image_size must be 32 pixels or more, got {self.image_size}")
        for name in ("short_side", "long_side"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be 1 pixel or more, got {value}")
        self._check_sides(self.short_side, self.long_side)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which an image of this height and width is worked on.

        The aspect ratio stays.
        """
        return fit_size(height, width, short_side=self.short_side, long_side=self.long_side)


def joint_transform(
    augmentation: JointAugmentation, preprocessing: DensePreprocessing
) -> JointTransform:
    """Build the function from an RGB image and its labels to a random, normalised square of both.

    Its side S is image_size; where the image is smaller, zeros and `IGNORE` fill the square's
    right and lower end.
    """
    changes = [
        v2.RandomHorizontalFlip(augmentation.hflip),
        v2.RandomVerticalFlip(augmentation.vflip),
    ]
    changes += [photometric_distortion()] if augmentation.photometric else []
    return _RandomSquare(preprocessing, augmentation, v2.Compose(changes))


@dataclass(frozen=True)
class _RandomSquare:
    """Result of `joint_transform`; a class, for processes to receive it."""

    preprocessing: DensePreprocessing
    augmentation: JointAugmentation
    changes: v2.Transform
    """Of the crop."""

    def __call__(self, image: Image.Image, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        (low, high), side = self.augmentation.scale, self.preprocessing.image_size
        factor = low + (high - low) * torch.rand(()).item()
        height, width = self.preprocessing.size(image.height, image.width)
        scaled = max(1, round(height * factor)), max(1, round(width * factor))
        mask = Image.fromarray(labels)
        view = choose_view(mask, scaled, side, self.augmentation.max_class_share)
        crop = view.of(image, self.preprocessing.interpolation)
        crop, target = self.changes(crop, tv_tensors.Mask(np.array(view.of(mask, "nearest"))))
        return _square(self.preprocessing.normalise(crop), side, 0.0), _square(
            target.long(), side, IGNORE
        )


@dataclass(frozen=True)
class WholeImage:
    """The preprocessing alone, for evaluation: the mask stays at its own size."""

    preprocessing: DensePreprocessing

    def __call__(self, image: Image.Image, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        """(3, h, w) float32 and (H, W) int64."""
        return self.preprocessing(image), torch.from_numpy(labels).long()


def photometric_distortion() -> v2.Transform:
    """Return random brightness, contrast, saturation and hue, each with probability one half.

    The contrast comes first or last. The strengths are the published recipe's, with brightness as a
    factor and not as a sum.
    """
    brightness, contrast, saturation, hue = (
        v2.RandomApply([v2.ColorJitter(**{name: strength})], p=0.5)
        for name, strength in {
            "brightness": 32 / 255,
            "contrast": 0.5,
            "saturation": 0.5,
            "hue": 0.1,
        }.items()
    )
    orders = [brightness, contrast, saturation, hue], [brightness, saturation, hue, contrast]
    return v2.RandomChoice([v2.Compose(order) for order in orders])


@dataclass(frozen=True)
class View:
    """A crop of a resized image, described by the part of the original that it shows.

    Only that need be resized.
    """

    size: tuple[int, int]
    """Height and width in pixels."""
    box: tuple[float, float, float, float]
    """Left, upper, right and lower end, in pixels of the original."""

    def of(self, image: Image.Image, interpolation: str) -> Image.Image:
        """The crop of an image."""
        return image.resize(self.size[::-1], Image.Resampling[interpolation.upper()], box=self.box)


def choose_view(
    labels: Image.Image, scaled: tuple[int, int], side: int, max_class_share: float
) -> View:
    """Return a random crop of at most side x side pixels, not all of one class.

    Args:
        labels: the mask, at its own size.
        scaled: height and width to which image and mask are resized.
        side: of the crop; it is smaller where the resized image is.
        max_class_share: of the pixels that are not ignored. After `_TRIES` crops the last one is
            taken as it is.
    """
    for _ in range(_TRIES):
        view = _random_view(labels.size, scaled, side)
        counts = np.array(view.of(labels, "nearest").histogram()[:IGNORE])
        if 0 < counts.max() <= max_class_share * counts.sum():
            break
    return view


def _random_view(original: tuple[int, int], scaled: tuple[int, int], side: int) -> View:
    (width, height), (rows, columns) = original, scaled
    size = min(rows, side), min(columns, side)
    top, left = (
        int(torch.randint(whole - part + 1, ())) for whole, part in zip(scaled, size, strict=True)
    )
    across, down = width / columns, height / rows
    box = (
        left * across,
        top * down,
        min(width, (left + size[1]) * across),
        min(height, (top + size[0]) * down),
    )
    return View(size, box)


def _square(image: Tensor, side: int, fill: float) -> Tensor:
    """Filled up to side x side pixels, to the right and below."""
    height, width = image.shape[-2:]
    return pad(image.as_subclass(Tensor), (0, side - width, 0, side - height), value=fill)
