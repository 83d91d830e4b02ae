"""Images as people give them to a model: files, their bytes, PIL images, arrays, tensors."""

import os
from collections.abc import Iterable, Sequence
from io import TextIOBase
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nommer.data.images import ImageError, decode, image_errors, to_rgb
from nommer.errors import InputError
from nommer.files import LARGEST_READ
from nommer.settings.pixel_range import Reading

ImageSource: TypeAlias = (
    str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray | Tensor
)
"""Images that prediction accepts: a path, the bytes of a file, a file open in binary mode, a PIL
image, an (H, W, 3) uint8 array or a (3, H, W) uint8 tensor.
"""

_ACCEPTED = (
    "paths, bytes of image files, files open in binary mode, PIL images, (H, W, 3) uint8 arrays or "
    "(3, H, W) uint8 tensors, one or many"
)


def sources_of(images: ImageSource | Iterable[ImageSource]) -> Sequence[ImageSource]:
    """Return one image or many as many.

    Raises:
        InputError: none at all, and no collection of them either.
    """
    if isinstance(images, np.ndarray | Tensor) and images.ndim == 4:
        return list(images)
    if _is_one(images):
        return [images]  # type: ignore[list-item]  # as was just asked
    if isinstance(images, dict) or not isinstance(images, Iterable):
        raise InputError(f"images to answer must be {_ACCEPTED}; got {_describe(images)}")
    return list(images)


def _is_one(source: Any) -> bool:
    in_bytes: Any = str | os.PathLike | bytes | bytearray | memoryview
    return isinstance(source, in_bytes | Image.Image | np.ndarray | Tensor) or hasattr(
        source, "read"
    )


def source_name(source: Any) -> str:
    """Return the path of an image file, or "image" for one given in memory."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source) if isinstance(os.fspath(source), str) else "image"
    name = getattr(source, "name", None) if hasattr(source, "read") else None
    return name if isinstance(name, str) and name else "image"


def open_any(source: Any, reading: Reading = Reading()) -> Image.Image:
    """Decode one image of any kind that prediction accepts.

    Raises:
        ImageError: what cannot be decoded, or is of another kind, shape or type.
    """
    if isinstance(source, Tensor):
        source = _channels_last(source)
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        with image_errors("image"):
            return to_rgb(source, reading)
    if isinstance(source, str | os.PathLike):
        return decode(Path(source), reading)
    if hasattr(source, "read"):
        source = _read(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return decode("image", reading, content=bytes(source))
    raise ImageError("image", f"expected {_ACCEPTED}; got {_describe(source)}")


def _read(stream: Any) -> bytes:
    if isinstance(stream, TextIOBase):
        raise ImageError(source_name(stream), 'the file is open in text mode; open it with "rb"')
    with image_errors(source_name(stream)):
        content = stream.read(LARGEST_READ + 1)
    if not isinstance(content, bytes):
        raise ImageError(source_name(stream), f"expected bytes, read {_describe(content)}")
    if len(content) > LARGEST_READ:
        raise ImageError(source_name(stream), f"over the limit of {LARGEST_READ:,} bytes")
    return content


def _channels_last(tensor: Tensor) -> np.ndarray:
    if tensor.dtype != torch.uint8 or tensor.ndim != 3 or len(tensor) != 3 or not tensor.numel():
        raise ImageError(
            "tensor",
            f"expected (3, H, W) uint8, 0 to 255, got {tuple(tensor.shape)} {tensor.dtype}; call "
            "the model itself with images that are prepared already",
        )
    return tensor.detach().cpu().permute(1, 2, 0).contiguous().numpy()


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ImageError("array", f"expected (H, W, 3) uint8, got {array.shape} {array.dtype}")
    return Image.fromarray(array)


def _describe(value: Any) -> str:
    if value is None:
        return "None"
    shown = repr(value)[:60] if isinstance(value, int | float) else ""
    return f"{type(value).__name__} {shown}".strip()
