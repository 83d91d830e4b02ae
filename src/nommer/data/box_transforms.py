"""From a decoded image and its objects to tensors that fit each other.

Fixed for evaluation, random for training.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from nommer.data.formats.objects import Objects, masks_of
from nommer.data.joint_transforms import photometric_distortion
from nommer.data.transforms import ResizedWhole, fit_size
from nommer.errors import InputError
from nommer.settings.detection import BoxAugmentation

_COARSE = (400, 500, 600)
"""Short sides before the crop of the published resize-or-crop policy, in pixels."""
_COARSE_LONG_SIDE = 4200
"""Largest longer side then, in pixels."""
_CROP = (384, 600)
"""Least and largest side of that crop, in pixels."""
_LEAST_SIDE = 1.0
"""Objects less wide or high than this after all changes, in pixels, are not learned."""


class Target(TypedDict, total=False):
    """The n objects of one image, as torchvision's detectors take them."""

    boxes: Tensor
    """(n, 4) float32: left, upper, right and lower end in pixels."""
    labels: Tensor
    """(n,) int64: class indices counted from 1; 0 is the background."""
    masks: Tensor
    """(n, h, w) uint8, 1 where the object is; only where masks are wanted."""
    image_id: Tensor
    """() int64."""


BoxTransform = Callable[[Image.Image, Target], tuple[Tensor, Target]]
"""From an RGB image and its objects to float32 (3, h, w), normalised, and the objects in it."""


@dataclass(frozen=True, kw_only=True)
class BoxPreprocessing(ResizedWhole):
    """Preparation of an image as the input of a detector; travels with the weights.

    Raises:
        InputError: a value out of range; the message names it.
    """

    short_side: int = 800
    """Images are resized so that their shorter side has this many pixels."""
    long_side: int = 1333
    """The longer side gets at most this many pixels, whatever becomes of the shorter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.short_side < 32:
            raise InputError(f"short_side must be 32 pixels or more, got {self.short_side}")
        self._check_sides(self.short_side, self.long_side)

    def size(self, height: int, width: int, *, short_side: int | None = None) -> tuple[int, int]:
        """(height, width) at which an image of this height and width is worked on.

        The aspect ratio stays.
        """
        return fit_size(
            height, width, short_side=short_side or self.short_side, long_side=self.long_side
        )


def box_transform(augmentation: BoxAugmentation, preprocessing: BoxPreprocessing) -> BoxTransform:
    """Build the function from an RGB image and its objects to a random, normalised view of both."""
    short_sides = augmentation.short_sides or (preprocessing.short_side,)
    mode = v2.InterpolationMode(preprocessing.interpolation)
    steps: list[v2.Transform] = [
        v2.RandomHorizontalFlip(augmentation.hflip),
        v2.RandomVerticalFlip(augmentation.vflip),
    ]
    if augmentation.resize_or_crop:
        coarse = v2.Compose([FitSize(_COARSE, _COARSE_LONG_SIDE, mode), CropWithin(*_CROP)])
        steps.append(v2.RandomApply([coarse], p=0.5))
    factors = augmentation.scale_jitter or (1.0, 1.0)
    steps.append(FitSize(short_sides, preprocessing.long_side, mode, factors=factors))
    steps += [photometric_distortion()] if augmentation.photometric else []
    return _RandomView(preprocessing, v2.Compose(steps))


class FitSize(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Resize the shorter side to one of `short_sides`, the longer to at most `long_side` pixels.

    With `factors` by as much again as a random one between these, and then crop to that size,
    anywhere.
    """

    def __init__(
        self,
        short_sides: tuple[int, ...],
        long_side: int,
        interpolation: v2.InterpolationMode,
        *,
        factors: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        self.short_sides, self.long_side, self.factors = short_sides, long_side, factors
        self.interpolation = interpolation

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The size and where to crop, the same for the image and its objects."""
        side = self.short_sides[int(torch.randint(len(self.short_sides), ()))]
        low, high = self.factors
        factor = low + (high - low) * torch.rand(()).item()
        height, width = v2.functional.get_size(flat_inputs[0])
        fitting = fit_size(height, width, short_side=side, long_side=self.long_side)
        scaled = [max(1, round(part * factor)) for part in fitting]
        return {
            "size": scaled,
            "crop": _place(scaled, [min(pair) for pair in zip(scaled, fitting, strict=True)]),
        }

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One of them, resized and cropped."""
        return v2.functional.crop(
            resize(inpt, params["size"], self.interpolation), **params["crop"]
        )


class CropWithin(v2.Transform):  # type: ignore[misc]
    """Crop to a random height and width, each between `least` and `largest` pixels, anywhere.

    A smaller image gives what it has.
    """

    def __init__(self, least: int, largest: int) -> None:
        super().__init__()
        self.least, self.largest = least, largest

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return the place of the crop."""
        sides = v2.functional.get_size(flat_inputs[0])
        limits = [(min(side, self.least), min(side, self.largest)) for side in sides]
        return _place(sides, [int(torch.randint(low, high + 1, ())) for low, high in limits])

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One of them, cropped."""
        return v2.functional.crop(inpt, **params)


def resize(inpt: Any, size: list[int], interpolation: v2.InterpolationMode) -> Any:
    """An image, boxes or masks at (height, width) `size`.

    Masks take the nearest pixel by its centre: torchvision takes it by its corner, half a pixel
    beside the image.
    """
    if not isinstance(inpt, tv_tensors.Mask):
        return v2.functional.resize(inpt, size, interpolation=interpolation)
    exact = v2.InterpolationMode.NEAREST_EXACT
    return tv_tensors.wrap(
        v2.functional.resize_image(inpt.as_subclass(Tensor), size, interpolation=exact), like=inpt
    )


def _place(sides: list[int], crop: list[int]) -> dict[str, int]:
    """A crop of this height and width somewhere in an image of these sides."""
    top, left = (
        int(torch.randint(side - part + 1, ())) for side, part in zip(sides, crop, strict=True)
    )
    return {"top": top, "left": left, "height": crop[0], "width": crop[1]}


@dataclass(frozen=True)
class _RandomView:
    """Result of `box_transform`; a class, for processes that decode to receive it."""

    preprocessing: BoxPreprocessing
    changes: v2.Transform

    def __call__(self, image: Image.Image, target: Target) -> tuple[Tensor, Target]:
        canvas = (image.height, image.width)
        wrapped: dict[str, Any] = dict(target)
        wrapped["boxes"] = tv_tensors.BoundingBoxes(
            target["boxes"], format="XYXY", canvas_size=canvas
        )
        if "masks" in target:
            wrapped["masks"] = tv_tensors.Mask(target["masks"])
        changed, objects = self.changes(image, wrapped)
        return self.preprocessing.normalise(changed), _present(objects)


@dataclass(frozen=True)
class WholeImage:
    """The preprocessing alone, for evaluation: objects stay where they are in the image file."""

    preprocessing: BoxPreprocessing

    def __call__(self, image: Image.Image, target: Target) -> tuple[Tensor, Target]:
        """(3, h, w) float32, and the objects as they came."""
        return self.preprocessing(image), target


def _present(objects: dict[str, Any]) -> Target:
    """The objects of which enough is left, as plain tensors."""
    clamped = v2.functional.clamp_bounding_boxes(objects["boxes"])
    _, kept = v2.functional.sanitize_bounding_boxes(clamped, min_size=_LEAST_SIDE)
    boxes = clamped.as_subclass(Tensor)
    if "masks" in objects:
        kept = kept & (objects["masks"].as_subclass(Tensor).flatten(1).amax(1) > 0)
    target = Target(boxes=boxes[kept], labels=objects["labels"][kept], image_id=objects["image_id"])
    if "masks" in objects:
        target["masks"] = objects["masks"].as_subclass(Tensor)[kept]
    return target


def to_target(objects: Objects, image_id: int, size: tuple[int, int], *, masks: bool) -> Target:
    """Return the objects of an image of this height and width for torchvision; without crowds."""
    single = objects.take(~objects.crowd)
    target = Target(
        boxes=torch.from_numpy(single.boxes).float(),
        labels=torch.from_numpy(single.labels + 1),
        image_id=torch.tensor(image_id),
    )
    if masks:
        target["masks"] = torch.from_numpy(masks_of(single, *size))
    return target
