"""From a decoded image to the tensor that the network takes.

Fixed for evaluation, random for training.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import Mixup, create_transform
from timm.data.auto_augment import AugmentOp
from timm.data.transforms import MaybeToTensor
from torch import Tensor
from torchvision.transforms import Normalize, v2

from nommer.errors import InputError
from nommer.settings.augmentation import Augmentation
from nommer.settings.pixels import SMALL_IMAGE, Cropping, PixelValues

_LONGEST_ASPECT = 4
"""Longer images are cropped to this aspect ratio before resizing, which a centre crop does not see
but memory does.
"""


@dataclass(frozen=True, kw_only=True)
class Normalisation(PixelValues):
    """From the decoded pixels to the numbers that the network takes, in any task."""

    def normalise(self, image: Image.Image) -> Tensor:
        """Float32 (3, H, W) with `mean` and `std` applied."""
        scaled = to_pixels(image).to(torch.float32).mul_(1 / 255)
        return scaled.sub_(per_channel(self.mean)).div_(per_channel(self.std))

    def denormalise(self, image: Tensor) -> Tensor:
        """Back from a normalised (3, H, W) tensor to values in 0 to 1, for showing."""
        mean, std = (
            torch.tensor(v, device=image.device).view(3, 1, 1) for v in (self.mean, self.std)
        )
        return (image.float() * std + mean).clamp(0, 1)


@dataclass(frozen=True)
class ResizedWhole(Normalisation):
    """A whole image, resized in proportion."""

    interpolation: Literal["bicubic", "bilinear", "nearest"] = "bilinear"
    """Resampling of pixels (antialiased)."""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which an image of this height and width is worked on.

        The aspect ratio stays.
        """
        raise NotImplementedError

    def _check_sides(self, short: int | None, long: int | None) -> None:
        """Refuse a longer side below the shorter one.

        Raises:
            InputError: both.
        """
        if short and long and long < short:
            raise InputError(f"long_side ({long}) must not be below short_side ({short})")

    def __call__(self, image: Image.Image) -> Tensor:
        """An RGB image as float32 (3, h, w) at its `size`, normalised."""
        size = self.size(image.height, image.width)
        if size != (image.height, image.width):
            image = v2.functional.resize(
                image, list(size), interpolation=v2.InterpolationMode(self.interpolation)
            )
        return self.normalise(image)


def to_pixels(image: Image.Image) -> Tensor:
    """The (3, H, W) uint8 view of a copy of an RGB image's pixels."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@lru_cache(maxsize=64)
def per_channel(values: tuple[float, ...]) -> Tensor:
    """A number per channel as a (channels, 1, 1) tensor, which nobody may change."""
    return torch.tensor(values).view(-1, 1, 1)


def fit_size(
    height: int, width: int, *, short_side: int | None, long_side: int | None
) -> tuple[int, int]:
    """Return (height, width) resized in proportion, the shorter side to `short_side`.

    The longer becomes at most `long_side`.
    """
    factor = short_side / min(height, width) if short_side else 1.0
    if long_side:
        factor = min(factor, long_side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


@dataclass(frozen=True, kw_only=True)
class Preprocessing(Cropping, Normalisation):
    """Preparation of an image as the input of a model; travels with the weights.

    Raises:
        InputError: a value out of range; the message names it.
    """

    image_size: int = 224
    """Side of the square input, in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size < 32:
            raise InputError(f"image_size must be 32 pixels or more, got {self.image_size}")
        if self.interpolation is None:
            object.__setattr__(self, "interpolation", "bicubic")
        if self.crop_pct is None:
            object.__setattr__(self, "crop_pct", 1.0 if self.image_size < SMALL_IMAGE else 0.875)

    def __call__(self, image: Image.Image) -> Tensor:
        """An RGB image as float32 (3, image_size, image_size), normalised."""
        return self.normalise(self.crop(image))

    def crop(self, image: Image.Image) -> Image.Image:
        """The part of an RGB image that the model sees, image_size x image_size."""
        if image.size == (self.image_size, self.image_size) and self.crop_pct == 1:
            return image
        mode = v2.InterpolationMode(self.interpolation)
        if self.crop_mode == "squash":
            return v2.functional.resize(
                image, [self.image_size, self.image_size], interpolation=mode
            )
        scaled = max(self.image_size, math.floor(self.image_size / (self.crop_pct or 1.0)))
        resized = v2.functional.resize(_limit_aspect(image), [scaled], interpolation=mode)
        return v2.functional.center_crop(resized, [self.image_size, self.image_size])

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of what `crop` keeps of an image of this size.

        They are counted in its pixels.
        """
        if self.crop_mode == "squash":
            return 0.0, 0.0, float(width), float(height)
        limited = [min(side, _LONGEST_ASPECT * min(height, width)) for side in (height, width)]
        scaled = max(self.image_size, math.floor(self.image_size / (self.crop_pct or 1.0)))
        spans = []
        for side, kept in zip((height, width), limited, strict=True):
            resized = scaled if kept == min(limited) else int(scaled * kept / min(limited))
            pixels = kept / resized
            start = round((side - kept) / 2) + round((resized - self.image_size) / 2) * pixels
            spans.append((start, start + self.image_size * pixels))
        (top, bottom), (left, right) = spans
        return left, top, right, bottom


def _limit_aspect(image: Image.Image) -> Image.Image:
    longest = _LONGEST_ASPECT * min(image.size)
    if max(image.size) <= longest:
        return image
    return v2.functional.center_crop(image, [min(image.height, longest), min(image.width, longest)])


def posterise(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """Keep `bits` bits of every channel.

    Keeping none leaves black, which timm asks for and Pillow refuses.
    """
    return (
        ImageOps.posterize(image, min(bits, 8)) if bits > 0 else Image.new(image.mode, image.size)
    )


class ToNormalised:
    """timm's `MaybeToTensor` and torchvision's `Normalize` in one, to the last bit.

    It avoids their detours.
    """

    def __init__(self, normalise: Normalize) -> None:
        self.mean, self.std = (
            tuple(torch.as_tensor(values).tolist()) for values in (normalise.mean, normalise.std)
        )

    def __call__(self, image: Image.Image) -> Tensor:
        """An RGB image as float32 (3, H, W)."""
        scaled = to_pixels(image).contiguous().to(torch.float32).div_(255)
        return scaled.sub_(per_channel(self.mean)).div_(per_channel(self.std))


def _join_normalisation(transform: Any) -> None:
    """Put one step in the place of the two that turn an image into a normalised tensor."""
    steps = transform.transforms
    place = next(number for number, step in enumerate(steps) if isinstance(step, MaybeToTensor))
    steps[place : place + 2] = [ToNormalised(steps[place + 1])]


def _operations(step: Any) -> Iterator[AugmentOp]:
    """The operations in one of timm's automatic augmentations; none in another transform."""
    nested = [*getattr(step, "ops", ()), *chain.from_iterable(getattr(step, "policy", ()))]
    return (operation for operation in nested if isinstance(operation, AugmentOp))


def check_policy(augmentation: Augmentation) -> None:
    """Refuse a policy of automatic augmentation that timm does not know.

    Raises:
        InputError: the policy.
    """
    try:
        training_transform(augmentation, Preprocessing())
    except (AssertionError, KeyError, ValueError) as error:  # timm's parser trips in many ways
        raise InputError(
            f"augment.auto_augment {augmentation.auto_augment!r} is no policy of timm: {error}"
        ) from error


def training_transform(augmentation: Augmentation, preprocessing: Preprocessing) -> Any:
    """Build the function from an RGB image to a random, normalised float32 tensor.

    Its shape is (3, image_size, image_size).
    """
    transform = create_transform(
        preprocessing.image_size,
        is_training=True,
        scale=augmentation.scale,
        ratio=augmentation.ratio,
        hflip=augmentation.hflip,
        vflip=augmentation.vflip,
        color_jitter=augmentation.color_jitter or None,  # type: ignore[arg-type]  # None turns it off
        auto_augment=augmentation.auto_augment,
        interpolation=preprocessing.interpolation or "bicubic",
        mean=preprocessing.mean,
        std=preprocessing.std,
        re_prob=augmentation.random_erasing,
        re_mode="pixel",
    )
    _join_normalisation(transform)
    for operation in chain.from_iterable(_operations(step) for step in transform.transforms):
        if operation.name.startswith("Posterize"):
            operation.aug_fn = posterise
    return transform


def mixing(augmentation: Augmentation, num_classes: int, label_smoothing: float) -> Mixup | None:
    """Build mixup and cutmix of a batch, which also turn labels into smoothed distributions.

    None when both are off.
    """
    if not (augmentation.mixup or augmentation.cutmix):
        return None
    return Mixup(  # type: ignore[no-untyped-call]
        mixup_alpha=augmentation.mixup,
        cutmix_alpha=augmentation.cutmix,
        prob=augmentation.mixup_prob,
        switch_prob=augmentation.mixup_switch_prob,
        label_smoothing=label_smoothing,
        num_classes=num_classes,
    )
