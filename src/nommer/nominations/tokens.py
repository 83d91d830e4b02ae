"""Tokens named by a pixel of the image file, and what was found about them in its pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from nommer.backbone.contexts import CONTEXTS
from nommer.errors import InputError
from nommer.models.recogniser import View
from nommer.nominations.attention_maps import AttentionTrace, TokenView
from nommer.nominations.receptive import Place, gradient_fields, receptive_fields

Pixel = tuple[int, int]
"""x and y in the image file, from 0."""

_MOST_GRADIENT_PIXELS = 1_000_000
"""Pixels above which the gradient, which keeps every activation, takes too much memory."""


def parse_pixels(given: Sequence[str]) -> list[Pixel]:
    """Pixels as the command line has them, "X,Y".

    Raises:
        InputError: something else.
    """
    pixels = []
    for text in given:
        parts = [part.strip() for part in text.split(",")]
        if len(parts) != 2 or not all(part.isdecimal() for part in parts):
            raise InputError(
                f"--token {text}: must be the x and y of a pixel of the image, as in --token 120,80"
            )
        pixels.append((int(parts[0]), int(parts[1])))
    return pixels


class OutsideError(InputError):
    """A pixel that is no part of the image, or of what the network sees of it."""


@dataclass(frozen=True)
class Frame:
    """Part of an image that the network sees, and at which size."""

    image: tuple[int, int]
    """Width and height of the image."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of what is seen, in pixels of the image."""
    size: tuple[int, int]
    """Height and width of the network's input, without padding."""

    @classmethod
    def of_view(cls, image: Image.Image, view: View) -> "Frame":
        """Return the part of an image that a view of it shows."""
        height, width = view.prepared.shape[1:]
        whole = (0.0, 0.0, float(image.width), float(image.height))
        return cls(image.size, view.box or whole, (height, width))

    def place(self, pixel: Pixel) -> Place:
        """Row and column in the network's input of a pixel of the image.

        Raises:
            OutsideError: it lies outside the image, or outside what the network sees of it.
        """
        (x, y), (width, height) = pixel, self.image
        if not (0 <= x < width and 0 <= y < height):
            raise OutsideError(
                f"token {x},{y}: lies outside the image, which is {width} x {height} pixels"
            )
        left, top, right, bottom = self.box
        if not (left <= x + 0.5 < right and top <= y + 0.5 < bottom):
            first_x, first_y, last_x, last_y = self._ends()
            raise OutsideError(
                f"token {x},{y}: lies in what the preprocessing cuts away; "
                f"choose x from {first_x} to {last_x} and y from {first_y} to {last_y}"
            )
        rows, columns = self.size
        return int((y + 0.5 - top) / (bottom - top) * rows), int(
            (x + 0.5 - left) / (right - left) * columns
        )

    def _ends(self) -> tuple[int, int, int, int]:
        """First x and y, and last x and y, of the pixels that are seen."""
        left, top, right, bottom = (math.ceil(edge - 0.5) for edge in self.box)
        return left, top, right - 1, bottom - 1

    def pixel(self, row: int | float, column: int | float) -> Pixel:
        """Return the image's pixel under a point of the network's input, or the nearest seen."""
        first_x, first_y, last_x, last_y = self._ends()
        x, y = self.to_image(row, column)
        return min(max(int(x), first_x), last_x), min(max(int(y), first_y), last_y)

    def to_image(self, row: int | float, column: int | float) -> tuple[float, float]:
        """Return x and y in the image of a point of the network's input."""
        left, top, right, bottom = self.box
        return left + column / self.size[1] * (right - left), top + row / self.size[0] * (
            bottom - top
        )


def typical_pixels(
    maps: Mapping[str, Tensor], strides: Mapping[str, float], frame: Frame
) -> list[Pixel]:
    """Return a pixel for every context that is nominated, in the order of `CONTEXTS`.

    It is in the middle of the largest area of its kind, in the block that nominates it for the
    largest share of tokens.

    Args:
        maps: per nominator block (rows, columns) context indices.
        strides: per block the pixels per token along one side, of the network's input.
        frame: of the image.
    """
    pixels = []
    for index in range(len(CONTEXTS)):
        areas = {block: (map_ == index).numpy() for block, map_ in maps.items()}
        block = max(areas, key=lambda block: areas[block].mean())
        if areas[block].any():
            depth = distance_transform_edt(np.pad(areas[block], 1))[1:-1, 1:-1]
            deepest = np.argwhere(depth == depth.max())
            row, column = deepest[((deepest - deepest.mean(0)) ** 2).sum(1).argmin()]
            pixels.append(
                frame.pixel((row + 0.5) * strides[block], (column + 0.5) * strides[block])
            )
    return list(dict.fromkeys(pixels))


@dataclass(frozen=True, eq=False)
class TokenExplanation:
    """One token: what it sees in every block, and which pixels can influence it."""

    pixel: Pixel
    place: Place
    """The same pixel as row and column of the network's input."""
    views: list[TokenView]
    """Block after block."""
    fields: dict[str, Tensor]
    """Receptive field as the token leaves each nominator block, (h, w) bool.

    In pixels of the network's input, without padding, given what is nominated.
    """
    gradient: Tensor | None
    """Strength of each pixel after the last nominator block, (h, w).

    It adds to 1 with what lies on padding; None for images of more than a million pixels.
    """
    frame: Frame

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, places in pixels of the image file."""
        areas = {block: field.float().mean().item() for block, field in self.fields.items()}
        blocks = [describe_view(view, self.frame) for view in self.views]
        return {"x": self.pixel[0], "y": self.pixel[1], "blocks": blocks, "receptive_field": areas}


def describe_view(view: TokenView, frame: Frame) -> dict[str, Any]:
    """Return plain values for JSON of one token in one block: what it draws on, and how evenly."""
    support, weights = on_image(view, frame.size)
    rows, columns = support.any(1).nonzero().flatten(), support.any(0).nonzero().flatten()
    (top, bottom), (left, right) = (
        (int(found.min()), int(found.max()) + 1) for found in (rows, columns)
    )
    height, width = frame.size
    first = frame.to_image(top * view.stride, left * view.stride)
    last = frame.to_image(min(bottom * view.stride, height), min(right * view.stride, width))
    described: dict[str, Any] = {
        "block": view.block,
        "sees_by": view.kind,
        "share": view.share,
        "token": view.place,
        "tokens_seen": int(support.sum()),
        "box": [round(value, 1) for value in (*first, *last)],
    }
    if weights is not None:
        row, column = divmod(int(weights.argmax()), weights.shape[1])
        centre = frame.to_image((row + 0.5) * view.stride, (column + 0.5) * view.stride)
        described |= {
            "largest_weight": weights.max().item(),
            "largest_weight_at": [round(value, 1) for value in centre],
            "tokens_with_half_the_weight": tokens_with_half(weights),
            "class_token_weight": view.class_weight,
            "padding_weight": max(0.0, 1 - view.class_weight - weights.sum().item()),
        }
    return described


def on_image(view: TokenView, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
    """Support and weights of a view without the tokens that lie wholly on padding.

    Args:
        view: of the network's whole input.
        size: height and width of the input without padding.
    """
    rows, columns = (-(-side // view.stride) for side in size)
    weights = None if view.weights is None else view.weights[:rows, :columns]
    return view.support[:rows, :columns], weights


def tokens_with_half(weights: Tensor) -> int:
    """The fewest tokens that hold half of the weight of all."""
    heaviest = weights.flatten().double().sort(descending=True).values.cumsum(0)
    return int((heaviest < heaviest[-1] / 2).sum()) + 1


def explain_tokens(
    trace: AttentionTrace, pixels: Sequence[Pixel], frame: Frame
) -> list[TokenExplanation]:
    """Return what a trace recorded of the tokens at `pixels`, in the order of its places."""
    if trace.images is None:
        return []
    size = (trace.images.shape[-2], trace.images.shape[-1])
    gradients: Sequence[Tensor | None] = [None] * len(pixels)
    if size[0] * size[1] <= _MOST_GRADIENT_PIXELS:
        gradients = list(gradient_fields(trace.network, trace.images, trace.places))
    explained = []
    for index, (pixel, place, gradient) in enumerate(
        zip(pixels, trace.places, gradients, strict=True)
    ):
        fields = receptive_fields(trace.network, trace.used, place, size)
        shown = None if gradient is None else _cut(gradient, frame.size)
        cut = {block: _cut(field, frame.size) for block, field in fields.items()}
        explained.append(TokenExplanation(pixel, place, trace.views(index), cut, shown, frame))
    return explained


def _cut(of_pixels: Tensor, size: tuple[int, int]) -> Tensor:
    return of_pixels[: size[0], : size[1]]
