"""Random changes of the training images of a classifier."""

from dataclasses import dataclass
from typing import ClassVar

from nommer.errors import InputError, check_share
from nommer.settings.schema import Settings


@dataclass(frozen=True, kw_only=True)
class Augmentation(Settings):
    """Random changes of the training images, all of them timm's.

    Raises:
        InputError: a value out of range; the message names it.
    """

    prefix: ClassVar[str] = "augment."

    scale: tuple[float, float] = (0.35, 1.0)
    """Share of the image's area that a random crop keeps."""
    ratio: tuple[float, float] = (0.75, 4 / 3)
    """Aspect ratio of the random crop."""
    hflip: float = 0.5
    """Probability of a horizontal flip."""
    vflip: float = 0.0
    """Probability of a vertical flip."""
    color_jitter: float = 0.2
    """Strength of brightness, contrast and saturation changes; not used together with
    `auto_augment`.
    """
    auto_augment: str | None = None
    """timm's policy string, such as "rand-m9-mstd0.5-inc1"."""
    random_erasing: float = 0.0
    """Probability of erasing a rectangle (filled with noise per pixel)."""
    mixup: float = 0.0
    """Alpha of mixup; 0 for none."""
    cutmix: float = 0.0
    """Alpha of cutmix; 0 for none."""
    mixup_prob: float = 1.0
    """Probability of mixup or cutmix per batch."""
    mixup_switch_prob: float = 0.5
    """Probability of cutmix where both are on."""

    def check(self) -> None:
        """Refuse values out of range."""
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise InputError(
                f"augment.ratio must be two numbers with 0 < low <= high, got {self.ratio}"
            )
        for name in ("hflip", "vflip", "random_erasing", "mixup_prob", "mixup_switch_prob"):
            check_share(f"augment.{name}", getattr(self, name))
        for name in ("color_jitter", "mixup", "cutmix"):
            if not getattr(self, name) >= 0:
                raise InputError(f"augment.{name} must be 0 or more, got {getattr(self, name)}")
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise InputError(
                f"augment.scale must be two numbers with 0 < low <= high <= 1, got {self.scale}"
            )
