"""Networks of exported models: modules that a runtime computes, on the CPU."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nommer.errors import InputError
from nommer.models.inference import DenseNetwork
from nommer.models.rcnn import Image, ObjectNetwork
from nommer.progress import notice
from nommer.settings.rcnn import RCNNProtocol
from nommer.shapes import ClassMap, Images, Logits, PixelLogits

INPUT, OUTPUT, CELLS, FEATURES = "images", "logits", "cells", "features"
"""Names in the file. A segmenter has two outputs: class scores per pixel, and those per cell that
they come from. A classifier that knows what its images look like gives the features by which it
does."""

OBJECTS = ("boxes", "scores", "labels")
"""Outputs of a detector: (n, 4) in pixels of the image that it is given, (n,), and (n,) classes
counted from 0."""


@runtime_checkable
class Runtime(Protocol):
    """A library that computes an exported model, on the CPU."""

    name: str
    """As people call it."""

    def __call__(self, names: Sequence[str], images: Tensor) -> list[Tensor]:
        """The outputs of these names for images (B, 3, H, W) float32."""


class ExportedNetwork(nn.Module):
    """An exported model as a module: images (B, 3, H, W) float32 to logits, on the CPU.

    Raises:
        InputError: what the file computes fails, or is not what its metadata say.
    """

    ranks: ClassVar[Mapping[str, int]] = {OUTPUT: 2, FEATURES: 2}
    """Dimensions of each output."""

    def __init__(self, runtime: Runtime, description: Mapping[str, Any], path: Path) -> None:
        super().__init__()
        self.runtime, self.path, self._padded = runtime, path, False
        self.num_classes = len(description["class_names"])
        self.outputs = tuple(description.get("outputs", ()))
        self.precision = str(description["precision"])
        """Number format of its products: float32 or int8."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "ExportedNetwork":
        return self  # what runs it never changes

    def forward(self, images: Images) -> Logits | PixelLogits:
        """Class scores of prepared images (B, 3, H, W).

        (B, classes), of a segmenter (B, classes, H, W).
        """
        return self.run(OUTPUT, images)

    def notice_padding(self, side: int) -> None:
        """Say once that an image is padded because it has a side of less than `side` pixels."""
        if not self._padded:
            self._padded = True
            notice(
                f"{self.path}: takes images of {side} x {side} pixels or more; smaller ones are "
                "padded with zeros, and "
                "their answers differ from those of the model it was made from"
            )

    def run(self, output: str, images: Images) -> Tensor:
        """One output of the file."""
        (found,) = self.run_all((output,), images)
        return found

    def run_all(self, names: Sequence[str], images: Images) -> list[Tensor]:
        """Several outputs of the file."""
        try:
            found = self.runtime(names, images.float().cpu())
        except (
            Exception
        ) as error:  # whatever a runtime may raise of a file that was changed, or of a wrong size
            shape, reason = tuple(images.shape), str(error).strip().partition("\n")[0]
            raise InputError(
                f"{self.path}: cannot compute images of shape {shape}: {reason}"
            ) from error
        for name, output in zip(names, found, strict=True):
            if output.ndim != self.ranks[name] or (
                name in (OUTPUT, CELLS, FEATURES) and len(output) != len(images)
            ):
                raise InputError(
                    f"{self.path}: gives {name} of shape {tuple(output.shape)} for images of shape "
                    f"{tuple(images.shape)}; export the model again"
                )
            classes = output.shape[1] if name in (OUTPUT, CELLS) else self.num_classes
            if classes != self.num_classes:
                raise InputError(
                    f"{self.path}: gives scores of {classes} classes, but its metadata name "
                    f"{self.num_classes}; "
                    "export the model again"
                )
        return [output.to(images.device) for output in found]


class ExportedDenseNetwork(ExportedNetwork, DenseNetwork):
    """An exported segmenter's network.

    It takes images of one size, or of any size from a smallest one.
    """

    ranks: ClassVar[Mapping[str, int]] = {OUTPUT: 4, CELLS: 4}

    def __init__(self, runtime: Runtime, description: Mapping[str, Any], path: Path) -> None:
        super().__init__(runtime, description, path)
        size = description["input"]
        self.stride, self.smallest = int(description["stride"]), int(size["smallest_size"])
        self.fixed_size = None if size["dynamic_size"] else int(size["size"])

    def scores(self, images: Images) -> ClassMap:
        """Return class scores of the cells of prepared images (B, 3, H, W).

        They are (B, classes, ceil(H / stride), ceil(W / stride)).

        Images below the smallest size are padded with zeros at the right and bottom.
        """
        height, width = images.shape[-2:]
        below, beside = (max(0, self.smallest - side) for side in (height, width))
        if below or beside:
            self.notice_padding(self.smallest)
        cells = self.run(CELLS, F.pad(images, (0, beside, 0, below)) if below or beside else images)
        return cells[..., : -(-height // self.stride), : -(-width // self.stride)]


class ExportedObjectNetwork(ExportedNetwork, ObjectNetwork):
    """An exported detector's network; it takes one image at a time, of any size."""

    ranks: ClassVar[Mapping[str, int]] = dict(zip(OBJECTS, (2, 1, 1), strict=True))

    def __init__(self, runtime: Runtime, description: Mapping[str, Any], path: Path) -> None:
        super().__init__(runtime, description, path)
        self.protocol, self.has_masks = RCNNProtocol(**description["protocol"]), False
        self.smallest = int(description["input"]["smallest_size"])

    def detect(
        self, images: Sequence[Image], *, threshold: float, most: int
    ) -> list[dict[str, Tensor]]:
        """The objects in each image, as `RCNN.detect`.

        Raises:
            InputError: a lower threshold, or more answers, than the file was written with.
        """
        if threshold < self.protocol.threshold or most > self.protocol.most:
            raise InputError(
                f"an exported model answers with scores of {self.protocol.threshold:g} or more, at "
                "most "
                f"{self.protocol.most} times, got a threshold of {threshold:g} and {most} answers"
            )
        return [self._detect(image, threshold, most) for image in images]

    def _detect(self, image: Image, threshold: float, most: int) -> dict[str, Tensor]:
        height, width = image.shape[-2:]
        below, beside = (max(0, self.smallest - side) for side in (height, width))
        if below or beside:
            self.notice_padding(self.smallest)
        boxes, scores, labels = self.run_all(OBJECTS, F.pad(image[None], (0, beside, 0, below)))
        boxes = boxes.minimum(torch.tensor([width, height] * 2).to(boxes))
        kept = (scores > threshold).nonzero()[:most, 0]
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept] + 1}
