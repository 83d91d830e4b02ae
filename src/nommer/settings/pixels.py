"""From decoded pixels to the numbers that the network takes."""

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

from nommer.errors import InputError
from nommer.settings.pixel_range import PixelRange, Reading, check_range
from nommer.settings.schema import Settings

SMALL_IMAGE = 160
"""Below this size, in pixels, nothing of an image is cropped away by default."""

_MOST = 1e4
"""Largest mean and deviation of pixels that are from 0 to 1, and the least deviation's inverse."""


@dataclass(frozen=True, kw_only=True)
class PixelValues(Settings):
    """From the decoded pixels to the numbers that the network takes, whatever the task.

    Raises:
        InputError: a value out of range; the message names it.
    """

    prefix: ClassVar[str] = ""

    interpolation: Literal["bicubic", "bilinear", "nearest"] | None = None
    """Resampling of pixels (antialiased).
    By default bicubic for classification, bilinear for segmentation and detection."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from each channel, of values in 0 to 1."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Divides each channel."""
    background: tuple[int, int, int] = (255, 255, 255)
    """Colour (0-255) under transparent pixels."""
    range: PixelRange = None
    """Black and white of images of more than 8 bits: 8bit, 10bit, 12bit, 14bit, 16bit, unit (0 to
    1), data (the least and the largest value of the data), or two numbers [low, high].
    Without it float images are refused. By default 16 bits."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "range", check_range(self.range))
        for one in fields(PixelValues):
            if getattr(self, one.name) is None:
                object.__setattr__(self, one.name, one.default)
        super().__post_init__()

    def check(self) -> None:
        """Refuse values out of range."""
        if min(self.background) < 0 or max(self.background) > 255:
            raise InputError(
                f"background must be three numbers from 0 to 255, got {self.background}"
            )
        if not all(-_MOST <= value <= _MOST for value in self.mean):  # which NaN is not
            raise InputError(f"mean must be from {-_MOST:g} to {_MOST:g}, got {self.mean}")
        if not all(1 / _MOST <= value <= _MOST for value in self.std):
            raise InputError(
                f"std must be above 0, from {1 / _MOST:g} to {_MOST:g}, got {self.std}"
            )

    @property
    def reading(self) -> Reading:
        """The reading of image files as RGB."""
        return Reading(self.background, self.range)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Cropping(Settings):
    """The part of an image that a classifier sees.

    Raises:
        InputError: a value out of range; the message names it.
    """

    prefix: ClassVar[str] = ""

    crop_pct: float | None = None
    """With crop_mode center: the shorter side is resized to image_size / crop_pct, then the centre
    is cropped. By default 0.875, or 1 for images under 160 pixels."""
    crop_mode: Literal["center", "squash"] = "center"
    """Squash resizes both sides to image_size instead, whatever the aspect ratio."""

    def check(self) -> None:
        """Refuse values out of range."""
        super().check()
        if self.crop_pct is not None and not 0 < self.crop_pct <= 1:
            raise InputError(f"crop_pct must be above 0 and at most 1, got {self.crop_pct}")


@dataclass(frozen=True, kw_only=True)
class PixelOptions(Cropping):
    """Preparation of pixels; what is not given is as the weights of --pretrained have it.

    Raises:
        InputError: a value out of range; the message names it.
    """

    interpolation: Literal["bicubic", "bilinear", "nearest"] | None = None
    """Resampling of pixels (antialiased).
    By default bicubic for classification, bilinear for segmentation and detection."""
    mean: tuple[float, float, float] | None = None
    """Subtracted from each channel, of values in 0 to 1. By default that of --pretrained, or else
    ImageNet's."""
    std: tuple[float, float, float] | None = None
    """Divides each channel. By default as `mean`."""
    background: tuple[int, int, int] | None = None
    """Colour (0-255) under transparent pixels. By default that of --pretrained, or else white."""
    range: PixelRange = None
    """Black and white of images of more than 8 bits: 8bit, 10bit, 12bit, 14bit, 16bit, unit (0 to
    1), data (the least and the largest value of the data), or two numbers [low, high].
    Without it float images are refused. By default 16 bits."""

    def check(self) -> None:
        """Refuse values out of range."""
        super().check()
        object.__setattr__(self, "range", self.values.range)

    @property
    def values(self) -> PixelValues:
        """The same with everything filled in, but for what differs from task to task."""
        names = (field.name for field in fields(PixelValues))
        return PixelValues(
            **{name: getattr(self, name) for name in names if getattr(self, name) is not None}
        )

    @property
    def reading(self) -> Reading:
        """The reading of image files as RGB."""
        return self.values.reading
