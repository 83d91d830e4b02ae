"""Images as people give them to a model.

| kind | how it is taken |
|---|---|
| path, or text that is one | a file; a folder stands for all images in it, searched deeply |
| `bytes`, file open in binary mode | the content of an image file |
| PIL image | as the decoder takes it: EXIF turns it, transparency gets the background |
| NumPy array | (H, W, 3) uint8 in the order RGB, or BGR with `channels="bgr"` |
| torch tensor | (3, H, W) uint8, or floating point from 0 to 1; same order, any device |
| frame of a video | as `data.videos` reads it |
| address | `https://...` of an image, with `allow_urls=True` alone, up to 64 MiB; an archive, or
what lies on `hf://`, `s3://` or `gs://`, is brought and stands for its images |

Many images are a list, any other iterable, or an array or tensor of four dimensions; what iterators
give is taken when its turn comes. Anything else is an `InputError`.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOBase
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nommer.data.archives import is_archive_name
from nommer.data.frames import Frame
from nommer.data.image_paths import find_images, is_folder
from nommer.data.images import ImageError, decode, image_errors, to_rgb
from nommer.data.remote import local
from nommer.data.web import WebImage, is_url
from nommer.errors import InputError
from nommer.files import LARGEST_READ
from nommer.settings.addresses import address_of, is_address, without_query
from nommer.settings.choices import Channels
from nommer.settings.pixel_range import Reading


class ReadOnce:
    """A file that is open, as one that can be read again: its content is kept."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.name = stream, source_name(stream)
        self._content: bytes | None = None

    def read(self, largest: int = LARGEST_READ) -> bytes:
        """Return the content from where the file stood.

        Raises:
            ImageError: text, too much, or what cannot be read.
        """
        if self._content is None:
            self._content = _read(self.stream)
        return self._content


ImageSource: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | IO[bytes]
    | WebImage
    | ReadOnce
    | Frame
    | Image.Image
    | np.ndarray
    | Tensor
)
"""One image that prediction accepts."""

_ACCEPTED = (
    "paths, bytes of image files, files open in binary mode, PIL images, (H, W, 3) uint8 arrays, "
    "(3, H, W) tensors of uint8 or of 0 to 1, or with allow_urls https addresses, one or many"
)


def sources_of(
    images: ImageSource | Iterable[ImageSource],
    *,
    channels: Channels = "rgb",
    allow_urls: bool = False,
) -> Iterable[ImageSource]:
    """Return one image or many as many; a list of what is known, else an iterator.

    Args:
        images: as above.
        channels: order of the colours of arrays and tensors.
        allow_urls: take https addresses.

    Raises:
        InputError: no image, and no collection of images either; a folder without images; an
            address that is not allowed. Of an iterator when its turn comes.
    """
    if channels not in ("rgb", "bgr"):
        raise InputError(f"channels must be rgb or bgr, got {channels!r}")
    if isinstance(images, np.ndarray | Tensor) and images.ndim == 4:
        images = list(images)
    if _is_one(images):
        images = [images]  # type: ignore[list-item]  # as was just asked
    if isinstance(images, dict) or not isinstance(images, Iterable):
        raise InputError(f"images to answer must be {_ACCEPTED}; got {_describe(images)}")
    single = _each(images, channels, allow_urls=allow_urls)
    return list(single) if isinstance(images, Sequence) else single


def _each(images: Iterable[Any], channels: Channels, *, allow_urls: bool) -> Iterator[ImageSource]:
    for position, source in enumerate(images):
        if not _is_one(source):
            raise InputError(
                f"images to answer must be {_ACCEPTED}; got {_describe(source)} at position "
                f"{position}"
            )
        name = source_name(source) if isinstance(source, str | os.PathLike) else ""
        if is_web_image(name) and not allow_urls:
            raise InputError(f"{name}: is an address; allow_urls=True (--allow-urls) fetches it")
        if is_web_image(name):
            yield WebImage(name)
        elif is_address(name) or (name and is_folder(Path(name))):
            yield from find_images([here(name)])
        else:
            yield _in_rgb(source) if channels == "bgr" else source


def is_web_image(name: str) -> bool:
    """Return True for the address of one image, which is no archive that is brought."""
    archive = is_address(name) and is_archive_name(Path(without_query(address_of(name))))
    return is_url(name) and not archive


def here(name: str) -> str:
    """Return a name of files; of an address that of the copy on this machine."""
    return str(local(Path(name))) if is_address(name) else name


def _in_rgb(source: Any) -> Any:
    """Return an array or tensor of blue, green and red in the usual order; the rest as it is."""
    if isinstance(source, np.ndarray) and source.ndim == 3:
        return source[..., ::-1]
    return source.flip(0) if isinstance(source, Tensor) and source.ndim == 3 else source


def _is_one(source: Any) -> bool:
    in_bytes: Any = str | os.PathLike | bytes | bytearray | memoryview
    return isinstance(source, in_bytes | Image.Image | np.ndarray | Tensor | Frame) or hasattr(
        source, "read"
    )


def source_name(source: Any) -> str:
    """Return the path of an image file, or "image" for one given in memory."""
    if isinstance(source, Frame):
        return source.name
    if isinstance(source, str | os.PathLike):
        return os.fspath(source) if isinstance(os.fspath(source), str) else "image"
    name = getattr(source, "name", None) if hasattr(source, "read") else None
    return name if isinstance(name, str) and name else "image"


def source_stem(source: Any) -> str:
    """Return the name of what is made of an image, without an ending."""
    return source.stem if isinstance(source, Frame) else Path(source_name(source)).stem


def open_any(source: Any, reading: Reading = Reading()) -> Image.Image:
    """Decode one image of any kind that prediction accepts.

    Raises:
        ImageError: what cannot be decoded, or is of another kind, shape or type.
    """
    if isinstance(source, Frame):
        return source.rgb(reading)
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


def read_once(source: ImageSource) -> ImageSource:
    """Return a source that gives the same whenever it is opened."""
    again = not hasattr(source, "read") or isinstance(source, WebImage)
    return source if again else ReadOnce(source)


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
    fits = tensor.dtype == torch.uint8 or tensor.is_floating_point()
    if not fits or tensor.ndim != 3 or len(tensor) != 3 or not tensor.numel():
        raise ImageError(
            "tensor",
            "expected (3, H, W) uint8, 0 to 255, or floating point, 0 to 1, got "
            f"{tuple(tensor.shape)} {tensor.dtype}",
        )
    pixels = tensor.detach().cpu()
    if pixels.is_floating_point():
        low, high = (float(value) for value in pixels.double().aminmax())
        if not (low >= 0 and high <= 1):
            raise ImageError(
                "tensor",
                f"expected floating point from 0 to 1, got {low:.4g} to {high:.4g}; divide by the "
                "largest value, or call the model itself with images that are normalised already",
            )
        pixels = (pixels.float() * 255).round().to(torch.uint8)
    return pixels.permute(1, 2, 0).contiguous().numpy()


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ImageError("array", f"expected (H, W, 3) uint8, got {array.shape} {array.dtype}")
    return Image.fromarray(np.ascontiguousarray(array))


def _describe(value: Any) -> str:
    if value is None:
        return "None"
    shown = repr(value)[:60] if isinstance(value, int | float) else ""
    return f"{type(value).__name__} {shown}".strip()
