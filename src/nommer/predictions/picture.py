"""The way from an answer back to its picture."""

from base64 import b64encode
from collections import deque
from collections.abc import Callable
from io import BytesIO
from threading import Lock
from typing import Any
from weakref import ref

from PIL import Image

MOST_PIXELS = 2**26
"""Pixels of images without a file that are held for pictures, those of the last answers."""

_held: deque[Image.Image] = deque()
_holding = Lock()


class Picture:
    """An image that can be shown again: a file is read again, pixels are held for a while.

    Of images given in memory those of the last answers are held, together 64 million pixels, so
    that answering many costs no more memory than answering few.
    """

    def __init__(self, open_again: Callable[[], Image.Image | None]) -> None:
        self._open = open_again

    @classmethod
    def of_file(cls, read: Callable[[], Image.Image]) -> "Picture":
        """Return the picture that `read` gives whenever it is asked for."""
        return cls(read)

    @classmethod
    def of_pixels(cls, image: Image.Image) -> "Picture":
        """Return the picture of an image in memory, as long as that is among the last."""
        with _holding:
            _held.append(image)
            while len(_held) > 1 and sum(one.width * one.height for one in _held) > MOST_PIXELS:
                _held.popleft()
        return cls(ref(image))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel with what a file needs, and without pixels."""
        return (_gone, ()) if isinstance(self._open, ref) else (Picture, (self._open,))

    def open(self) -> Image.Image | None:
        """Return the RGB image; None where it is gone, or can no longer be read."""
        try:
            return self._open()
        except Exception:  # whatever became of the file; an answer is shown without it
            return None


def as_uri(image: Image.Image, side: int) -> str:
    """Return an image as the address of a JPEG in itself, for pages.

    Args:
        image: in any mode.
        side: to which the longer one is shrunk, in pixels.
    """
    shown, content = image.convert("RGB"), BytesIO()
    shown.thumbnail((side, side))
    shown.save(content, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{b64encode(content.getvalue()).decode()}"


def _gone() -> Picture:
    return Picture(_nothing)


def _nothing() -> None:
    return None
