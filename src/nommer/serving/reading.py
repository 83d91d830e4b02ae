"""From the body of a request to images and options: multipart, or JSON with base64."""

import binascii
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from nommer.data.images import ImageError, image_errors, open_image
from nommer.errors import InputError, quoted, shortened
from nommer.predictions import Failure
from nommer.serving.batching import Upload
from nommer.serving.errors import RefusedError
from nommer.serving.model import Look, Options
from nommer.serving.request_options import flag_of, options_of
from nommer.settings.forcing import Forcing

_FIELDS = 32
"""Fields of a form beside images, at most."""

_FIELD_BYTES = 4096
"""Of such a field, at most."""

_FORCINGS = 24
"""Tokens, and contexts that are forced, at most."""

_LISTS = {"token": " X,Y", "force": " or objects"}

_NAME = 200
"""Letters of an image's name that are kept."""


@dataclass(frozen=True)
class Limits:
    """Limits of a request."""

    max_bytes: int
    max_images: int
    max_pixels: int


@dataclass(frozen=True)
class Asked:
    """Options of a request."""

    model: str | None
    images: list[tuple[str, bytes]]
    """Name and content of each file."""
    options: Options
    look: Look
    """Wishes about an explanation."""


async def read_request(request: Request, limits: Limits) -> Asked:
    """Read the body of a request, no more of it than is allowed.

    Raises:
        RefusedError: 413 for too much, 415 for another kind of body, 422 for what does not fit.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limits.max_bytes:
        raise _too_large(limits)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    stream = _limited(request, limits)
    if kind == "multipart/form-data":
        return await _from_form(request, stream, limits)
    if kind == "application/json":
        return _from_json(b"".join([part async for part in stream]), limits)
    raise RefusedError(
        415,
        f"the body is {shortened(kind) or 'of no kind'}, expected multipart/form-data with files "
        "called images, or application/json with a list images of base64 texts",
    )


async def _limited(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """Yield the body, as long as it is not too large."""
    total = 0
    async for part in request.stream():
        total += len(part)
        if total > limits.max_bytes:
            raise _too_large(limits)
        yield part


def _too_large(limits: Limits) -> RefusedError:
    return RefusedError(
        413, f"the request has more than {limits.max_bytes:,} bytes; send fewer or smaller images"
    )


async def _from_form(request: Request, stream: AsyncIterator[bytes], limits: Limits) -> Asked:
    parser = MultiPartParser(
        request.headers,
        _generator(stream),
        max_files=limits.max_images + 1,  # of which one too many is told as such
        max_fields=_FIELDS,
        max_part_size=_FIELD_BYTES,
    )
    parser.spool_max_size = limits.max_bytes + 1  # nothing is written to the disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        status = 413 if "Too many files" in error.message else 422
        raise RefusedError(status, f"the form cannot be read: {error.message}") from error
    except (KeyError, ValueError, LookupError) as error:
        raise RefusedError(422, f"the form cannot be read: {shortened(str(error))}") from error
    try:
        images = [
            (item.filename or "image", await item.read())
            for item in form.getlist("images")
            if isinstance(item, UploadFile)
        ]
        return _asked(_plain(form), images, limits)
    finally:
        await form.close()


async def _generator(stream: AsyncIterator[bytes]) -> Any:
    async for part in stream:
        yield part


def _plain(form: FormData) -> dict[str, Any]:
    """Return the fields of a form beside images; `token` and `force` may be given several times."""
    values: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name == "images" and isinstance(value, UploadFile):
            continue
        if isinstance(value, UploadFile) or name == "images":
            raise RefusedError(422, f"{shortened(name)}: images are files, all else is text")
        if name in ("token", "force"):
            values.setdefault(name, []).append(value)
        elif name in values:
            raise RefusedError(422, f"{shortened(name)}: is given twice")
        else:
            values[name] = value
    return values


def _from_json(body: bytes, limits: Limits) -> Asked:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(422, f"the body is no JSON: {shortened(str(error))}") from error
    if not isinstance(values, dict):
        raise RefusedError(422, "the body must be an object with a list called images")
    given = values.pop("images", None)
    if not isinstance(given, list):
        raise RefusedError(422, "images must be a list of base64 texts, or of objects with data")
    if len(given) > limits.max_images:
        raise _too_many(len(given), limits)
    return _asked(values, [_decoded(number, item) for number, item in enumerate(given)], limits)


def _decoded(number: int, item: Any) -> tuple[str, bytes]:
    """Return name and content of an image in JSON."""
    name, data = f"image {number + 1}", item
    if isinstance(item, Mapping):
        if set(item) - {"name", "data"}:
            raise RefusedError(422, f"images[{number}]: has other entries than name and data")
        name, data = item.get("name", name), item.get("data")
    if not isinstance(name, str) or not isinstance(data, str):
        raise RefusedError(422, f"images[{number}]: name and data must be texts")
    try:
        return name, b64decode(
            data.partition(",")[2] if data[:5] == "data:" else data, validate=True
        )
    except (binascii.Error, ValueError) as error:
        raise RefusedError(422, f"images[{number}]: is no base64: {error}") from error


def _too_many(found: int, limits: Limits) -> RefusedError:
    return RefusedError(413, f"the request has {found} images, and {limits.max_images} is the most")


def _asked(values: dict[str, Any], images: list[tuple[str, bytes]], limits: Limits) -> Asked:
    if len(images) > limits.max_images:
        raise _too_many(len(images), limits)
    if not images:
        raise RefusedError(422, "no images given; send files called images")
    model = values.pop("model", None)
    if not isinstance(model, str | None):
        raise RefusedError(422, f"model must be a text, got {quoted(model)}")
    named = [(shortened(name, _NAME), content) for name, content in images]
    look = _look(values)
    return Asked(model or None, named, options_of(values), look)


def _look(values: dict[str, Any]) -> Look:
    """Take the wishes about an explanation out of values."""
    tokens, force = values.pop("token", []), values.pop("force", [])
    for name, given in (("token", tokens), ("force", force)):
        if not isinstance(given, list):
            raise RefusedError(
                422, f"{name} must be a list of texts{_LISTS[name]}, got {quoted(given)}"
            )
    if len(force) > _FORCINGS or len(tokens) > _FORCINGS:
        raise RefusedError(422, f"token and force may be given {_FORCINGS} times at most")
    flags = {name: flag_of(name, values.pop(name, False)) for name in ("grids", "attribution")}
    pixels = tuple(_pixel(token) for token in tokens)
    return Look(pixels, tuple(_forcing(one) for one in force), **flags)


def _forcing(value: Any) -> Forcing:
    try:
        return Forcing.from_value(json.loads(value) if isinstance(value, str) else value)
    except (InputError, ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, InputError) else "force must be JSON objects"
        raise RefusedError(422, said) from error


def _pixel(token: Any) -> tuple[int, int]:
    parts = [part.strip() for part in token.split(",")] if isinstance(token, str) else []
    if len(parts) != 2 or not all(part.isascii() and part.isdecimal() for part in parts):
        raise RefusedError(422, f"token must be X,Y of a pixel, as in 120,80, got {quoted(token)}")
    if max(map(len, parts)) > len("1000000"):
        raise RefusedError(422, f"token {quoted(token)}: is outside of any image")
    return int(parts[0]), int(parts[1])


def inspect(name: str, content: bytes, limits: Limits) -> Upload | Failure:
    """Return a file with the size that its header says; a `Failure` where that cannot be taken."""
    try:
        with image_errors(name), open_image(name, content) as image:
            pixels = image.width * image.height
    except ImageError as error:
        return Failure(name, error.reason)
    if pixels > limits.max_pixels:
        return Failure(name, f"too large: {pixels:,} pixels, over {limits.max_pixels:,}")
    return Upload(name, content, pixels)
