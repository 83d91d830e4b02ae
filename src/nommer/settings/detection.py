"""Object detection and instance segmentation: heads, sizes and random changes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from nommer.errors import InputError, check_share
from nommer.settings.rcnn import RCNNProtocol
from nommer.settings.schema import Settings, Takes, given


@dataclass(frozen=True, kw_only=True)
class BoxAugmentation(Settings):
    """Random changes of the training images and their objects.

    Source: the published COCO recipes of Mask R-CNN: flip at a single scale; multi-scale; resize or
    crop.

    Raises:
        InputError: a value out of range; the message names it.
    """

    prefix: ClassVar[str] = "detection.augment."

    hflip: float = 0.5
    """Probability of a horizontal flip."""
    vflip: float = 0.0
    """Probability of a vertical flip."""
    short_sides: tuple[int, ...] = ()
    """The shorter side is resized to one of these, in pixels; by default to the preprocessing's."""
    resize_or_crop: bool = False
    """Half of the images are first resized (short side 400, 500 or 600) and cropped (sides of 384
    to 600 pixels).
    """
    scale_jitter: tuple[float, float] | None = None
    """The image is resized by a random factor between these, on top of its size, and cropped to
    that size.
    """
    photometric: bool = False
    """Change brightness, contrast, saturation and hue, each with probability one half."""

    def check(self) -> None:
        """Refuse values out of range."""
        if any(side < 32 for side in self.short_sides):
            raise InputError(
                "detection.augment.short_sides must be 32 pixels or more each, got "
                f"{self.short_sides}"
            )
        for name in ("hflip", "vflip"):
            check_share(f"detection.augment.{name}", getattr(self, name))
        if self.scale_jitter is not None and not 0 < self.scale_jitter[0] <= self.scale_jitter[1]:
            raise InputError(
                "detection.augment.scale_jitter must be two numbers with 0 < low <= high, got "
                f"{self.scale_jitter}"
            )


@dataclass(frozen=True, kw_only=True)
class DetectionOptions(Settings):
    """Heads, sizes and random changes of object detection and instance segmentation.

    Raises:
        InputError: a value out of range; the message names it.
    """

    prefix: ClassVar[str] = "detection."

    head: Literal["plain", "cascade"] = "plain"
    """Faster (with masks Mask) R-CNN, or Cascade R-CNN with three stages."""
    masks: bool | None = None
    """Learn masks. By default where the data have them."""
    short_side: int | None = None
    """The shorter side of an image is resized to this, in pixels. By default 800, for smaller
    images their own.
    """
    long_side: int | None = None
    """Largest longer side in pixels. By default 1333, or 5/3 of the shorter side."""
    fpn_channels: int | None = None
    """Channels of the feature pyramid. By default 256 as published, or 128 on backbones of fewer
    than 512 features.
    """
    box_channels: int | None = None
    """Width of the box head. By default 1024 as published, or 256 on backbones of fewer than 512
    features.
    """
    augment: Takes[BoxAugmentation, Mapping[str, Any]] = given(BoxAugmentation())
    """Random changes of images and objects together."""
    protocol: Takes[RCNNProtocol, Mapping[str, Any]] = given(RCNNProtocol())
    """Sampling, matching and choice of proposals and boxes."""

    def check(self) -> None:
        """Refuse values out of range."""
        for name in ("short_side", "long_side", "fpn_channels", "box_channels"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"detection.{name} must be 1 or more, got {getattr(self, name)}")

    def resolved(self, *, features: int, short_side: int, masks: bool) -> "DetectionOptions":
        """Return a copy with everything filled in.

        For a backbone whose last stage has `features`, and images of this size.
        """
        published, short = features >= 512, self.short_side or min(800, max(32, short_side))
        return replace(
            self,
            masks=masks if self.masks is None else self.masks,
            short_side=short,
            long_side=self.long_side or max(short, round(short * 5 / 3)),
            fpn_channels=self.fpn_channels or (256 if published else 128),
            box_channels=self.box_channels or (1024 if published else 256),
        )
