"""Semantic segmentation: head, loss, crops and random changes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from nommer.errors import InputError, check_share
from nommer.settings.schema import Settings, Takes, given


@dataclass(frozen=True, kw_only=True)
class JointAugmentation(Settings):
    """Random changes of the training images and their masks.

    Source: the published ADE20K recipe of UPerNet: scale, crop, flip, photometric distortion, in
    this order.

    Raises:
        InputError: a value out of range; the message names it.
    """

    prefix: ClassVar[str] = "segmentation.augment."

    scale: tuple[float, float] = (0.5, 2.0)
    """The image is resized by a random factor between these, on top of the preprocessing's size."""
    max_class_share: float = 0.75
    """Largest share of one class among the pixels of a crop; after ten tries any crop is taken."""
    hflip: float = 0.5
    """Probability of a horizontal flip."""
    vflip: float = 0.0
    """Probability of a vertical flip."""
    photometric: bool = True
    """Change brightness, contrast, saturation and hue, each with probability one half."""

    def check(self) -> None:
        """Refuse values out of range."""
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(
                "segmentation.augment.scale must be two numbers with 0 < low <= high, got "
                f"{self.scale}"
            )
        if not 0 < self.max_class_share <= 1:
            raise InputError(
                "segmentation.augment.max_class_share must be above 0 and at most 1, got "
                f"{self.max_class_share}"
            )
        for name in ("hflip", "vflip"):
            check_share(f"segmentation.augment.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class SegmentationOptions(Settings):
    """Head, loss and training crops of semantic segmentation.

    Raises:
        InputError: a value out of range; the message names it.
    """

    prefix: ClassVar[str] = "segmentation."

    decoder_channels: int | None = None
    """Channels of the UPerNet decoder. By default 512 as published, or 128 on backbones of fewer
    than 512 features.
    """
    auxiliary_channels: int | None = None
    """Channels of the auxiliary head on stage 3, published 256. By default half the decoder's."""
    auxiliary_weight: float = 0.4
    """Weight of the auxiliary head's loss; 0 for no such head."""
    dropout: float = 0.1
    """Dropout before the classifiers of both heads."""
    class_weights: Literal["none", "median"] = "none"
    """Weight of each class in the loss: all 1, or the median of the classes' pixel shares divided
    by its own.
    """
    short_side: int | None = None
    """Resize every image so that its shorter side has this many pixels. By default images keep
    their size.
    """
    long_side: int | None = None
    """With short_side: largest longer side, in pixels."""
    augment: Takes[JointAugmentation, Mapping[str, Any]] = given(JointAugmentation())
    """Random changes of image and mask together."""

    def check(self) -> None:
        """Refuse values out of range."""
        for name in ("decoder_channels", "auxiliary_channels", "short_side", "long_side"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(
                    f"segmentation.{name} must be 1 or more, got {getattr(self, name)}"
                )
        if not 0 <= self.dropout < 1:
            raise InputError(
                f"segmentation.dropout must be at least 0 and below 1, got {self.dropout}"
            )
        if not self.auxiliary_weight >= 0:
            raise InputError(
                f"segmentation.auxiliary_weight must be 0 or more, got {self.auxiliary_weight}"
            )

    def resolved(self, features: int) -> "SegmentationOptions":
        """Return a copy with the channels filled in, for a backbone of so many features."""
        decoder = self.decoder_channels or (512 if features >= 512 else 128)
        return replace(
            self,
            decoder_channels=decoder,
            auxiliary_channels=self.auxiliary_channels or -(-decoder // 2),
        )
