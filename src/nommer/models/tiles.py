"""Objects in an image that is looked at in overlapping windows, each at a scale of its own.

A detector sees an image with a short side of some hundred pixels, in which small objects of a large
image vanish. In windows it sees them at their own size; the answers are moved to their places and
merged. Source: Akyon, Altinuc and Temizel, "Slicing Aided Hyper Inference and Fine-tuning for Small
Object Detection" (2022), whose intersection over the smaller box (IoS) finds pieces of an object.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import batched_nms

from nommer.models.inference import WHOLE_PIXELS, starts

MOST_WINDOWS = 8
"""Windows that the network sees at once."""

_PIECE = 0.5
"""Share of a piece that lies in another box of its class, from which it is a piece of that."""

_NEAR = 0.01
"""Distance from the border of a window up to which a box is taken to be cut there, in sides."""


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, in its pixels."""

    left: int
    upper: int
    right: int
    lower: int

    @property
    def sides(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.lower - self.upper

    def crop(self, image: Image.Image) -> Image.Image:
        """Return what is in the window."""
        return image.crop((self.left, self.upper, self.right, self.lower))


def windows_over(size: tuple[int, int], side: int, overlap: float) -> list[Window]:
    """Return windows of one size that cover an image of height and width `size`, row by row.

    Args:
        size: of the image, in pixels.
        side: of the windows, in pixels; an image that is smaller has windows of its own side.
        overlap: share of a window that the next one covers too, at least.
    """
    height, width = (min(side, whole) for whole in size)
    return [
        Window(left, upper, left + width, upper + height)
        for upper in starts(size[0], height, overlap)
        for left in starts(size[1], width, overlap)
    ]


def in_batches(windows: Sequence[Window], seen: tuple[int, int]) -> Iterator[Sequence[Window]]:
    """Yield the windows in groups that the network may see at once, `seen` pixels each."""
    step = max(1, min(MOST_WINDOWS, WHOLE_PIXELS // (seen[0] * seen[1])))
    for start in range(0, len(windows), step):
        yield windows[start : start + step]


def place(
    found: dict[str, Tensor], seen: tuple[int, int], window: Window, size: tuple[int, int]
) -> dict[str, Tensor]:
    """Return what was found in a window, in pixels of the image, on the CPU.

    With "rank", how far boxes are to be trusted: 2 inside a window, 1 in the whole image, 0 where a
    border of the window, which is none of the image, may have cut them.

    Args:
        found: "boxes", "scores", "labels" and perhaps "masks", in pixels that were seen.
        seen: height and width at which the window was seen.
        window: in which it was found; it may be the whole image.
        size: height and width of the image.
    """
    width, height = window.sides
    scale = torch.tensor([width / seen[1], height / seen[0]] * 2, dtype=torch.float64)
    corner = torch.tensor([window.left, window.upper] * 2, dtype=torch.float64)
    boxes = found["boxes"].cpu().double() * scale + corner
    cut, near = torch.zeros(len(boxes), dtype=torch.bool), _NEAR * max(window.sides)
    ends = (window.left, window.upper, window.right, window.lower)
    for column, (end, border) in enumerate(zip(ends, (0, 0, size[1], size[0]), strict=True)):
        if end != border:
            cut |= (boxes[:, column] - end).abs() <= near
    rank = torch.where(cut, 0, 1 if (height, width) == size else 2)
    return {name: values.cpu() for name, values in found.items()} | {"boxes": boxes, "rank": rank}


def merge(parts: Sequence[dict[str, Tensor]], *, nms: float, most: int) -> dict[str, Tensor]:
    """Return the objects of all windows, each once, the best first.

    Of boxes of a class that overlap, the one of the highest rank stays, and of those the surest:
    by IoU, and of cut ones also by IoS with any box of another window.

    Args:
        parts: boxes, scores, labels, rank and perhaps masks in cells, of each window.
        nms: IoU above which two boxes show one object.
        most: objects that are returned.
    """
    together = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    origin = torch.cat([torch.full_like(part["labels"], i) for i, part in enumerate(parts)])
    order = together["rank"] + together["scores"].double().clamp(0, 1)
    kept = batched_nms(together["boxes"], order, together["labels"], nms)
    fields = (together["boxes"], together["labels"], together["rank"], origin)
    kept = kept[_without_pieces(*(values[kept] for values in fields))]
    best = kept[together["scores"][kept].argsort(descending=True, stable=True)][:most]
    return {name: values[best] for name, values in together.items() if name != "rank"}


def _without_pieces(boxes: Tensor, labels: Tensor, rank: Tensor, origin: Tensor) -> Tensor:
    """(n,) bool: boxes, in falling order, that are no cut piece of an earlier one that stays."""
    kept = torch.ones(len(boxes), dtype=torch.bool)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for index in (rank == 0).nonzero()[:, 0].tolist():
        others = (
            kept[:index] & (labels[:index] == labels[index]) & (origin[:index] != origin[index])
        )
        upper = torch.maximum(boxes[:index, :2], boxes[index, :2])
        lower = torch.minimum(boxes[:index, 2:], boxes[index, 2:])
        shared = (lower - upper).clamp_min(0).prod(1)
        smaller = torch.minimum(areas[:index], areas[index]).clamp_min(1e-9)
        kept[index] = not bool((others & (shared / smaller >= _PIECE)).any())
    return kept
