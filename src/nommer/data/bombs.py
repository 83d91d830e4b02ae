"""Pillow's warning of large images, which is not for users: what is too large is an error."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from PIL import Image

_filtering = Lock()
"""Filters of warnings belong to the whole process, so only one thread at a time may change them."""


@contextmanager
def no_bomb_warning() -> Iterator[None]:
    """Let Pillow open or load an image without its warning."""
    with _filtering, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def load_quietly(image: Image.Image) -> None:
    """Read the pixels of an open image, which warns of a large TIFF once more."""
    if image.width * image.height <= (Image.MAX_IMAGE_PIXELS or 0):
        image.load()
        return
    with no_bomb_warning():
        image.load()
