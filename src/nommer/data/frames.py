"""Frames of videos and cameras, as one more kind of image that models answer."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nommer.data.images import ImageError, image_errors, to_rgb
from nommer.predictions import Moment
from nommer.settings.pixel_range import Reading


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame, decoded; or in the place of its pixels why it could not be."""

    video: str
    """The file, or the camera."""
    moment: Moment
    image: Image.Image | None
    """As the video has it: RGB, RGBA or 16-bit grey."""
    error: str = ""

    @property
    def name(self) -> str:
        """The video and the number of the frame."""
        return f"{self.video}, frame {self.moment.frame}"

    @property
    def stem(self) -> str:
        """A name for files that are made of the frame."""
        return f"{Path(self.video).stem}-{self.moment.frame:06d}"

    def rgb(self, reading: Reading) -> Image.Image:
        """Return the frame as 8-bit RGB.

        Raises:
            ImageError: it could not be decoded.
        """
        if self.image is None:
            raise ImageError(self.name, self.error)
        if self.image.mode == "RGB":
            return self.image
        with image_errors(self.name):
            return to_rgb(self.image, reading)


def upright(pixels: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """Turn and mirror pixels (H, W, ...) as a display matrix says.

    Args:
        pixels: of a frame.
        matrix: (3, 3) integers, of which the upper left 2 x 2 map right and down of the frame to
            right and down of the screen, as rows; an angle that is no quarter turn is taken for
            the nearest. None is as it is.
    """
    if matrix is None:
        return pixels
    (right, right_to_down), (down_to_right, down) = matrix[:2, :2].tolist()
    if abs(right) < abs(right_to_down):
        pixels, right, down = pixels.swapaxes(0, 1), down_to_right, right_to_down
    if right < 0:
        pixels = pixels[:, ::-1]
    return pixels[::-1] if down < 0 else pixels
