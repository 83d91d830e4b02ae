"""The way of a segmenter or a detector over an image."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from nommer.errors import InputError
from nommer.settings.schema import Settings


@dataclass(frozen=True, kw_only=True)
class Inference(Settings):
    """The way over an image, by which every pixel gets its scores, or objects are found.

    Raises:
        InputError: a value out of range; the message names it.
    """

    prefix: ClassVar[str] = "inference."

    mode: Literal["auto", "whole", "slide"] = "auto"
    """The whole image at once, or a sliding window; auto takes images of up to two million pixels
    whole, and all for a detector. slide shows a detector windows and the whole image, and merges.
    """
    window: int | None = None
    """Side of the sliding window in pixels, for a detector in pixels of the image file. By default
    the side of the training crops, or the short side at which a detector sees images."""
    overlap: float = 1 / 3
    """Share of a window that the next one covers too, at least."""
    scales: tuple[float, ...] = (1.0,)
    """Sizes at which a segmenter looks at the image, in its usual size; the probabilities are
    averaged."""
    flip: bool = False
    """Have a segmenter look at the mirrored image too."""

    def check(self) -> None:
        """Refuse values out of range."""
        if self.window is not None and self.window < 32:
            raise InputError(f"inference.window must be 32 pixels or more, got {self.window}")
        if not 0 <= self.overlap <= 0.9:
            raise InputError(f"inference.overlap must be from 0 to 0.9, got {self.overlap}")
        if not self.scales or not all(0.1 <= scale <= 10 for scale in self.scales):
            raise InputError(
                f"inference.scales must be numbers from 0.1 to 10, at least one, got {self.scales}"
            )

    def check_objects(self) -> None:
        """Refuse what a detector does not do.

        Raises:
            InputError: several scales, or mirrored images.
        """
        if self.scales != (1.0,) or self.flip:
            name = "flip" if self.flip else "scales"
            raise InputError(f"--inference.{name}: does nothing for detection; leave it out")
