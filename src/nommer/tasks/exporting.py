"""A task's part in an export: the graph that is traced, its outputs, and how they are compared."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import center_crop

from nommer.backbone.network import NomMer
from nommer.models.recogniser import Recogniser
from nommer.shapes import Images
from nommer.tasks.image_size import ImageSize

if TYPE_CHECKING:
    from nommer.tasks.whole import WholeExport

TOLERANCE = 1e-4
"""Largest difference of a class score, relative to the largest score of the image (at least 1)."""

Prepared = Images | list[Tensor]
"""Prepared images: (N, 3, height, width), of a detector (3, h, w) each."""


@dataclass(frozen=True)
class ParityReport:
    """Differences between an exported model and the one it was made from, on real images."""

    images: int
    batches: tuple[int, ...]
    """Batch sizes in which all images were run."""
    sizes: tuple[tuple[int, int], ...]
    """Heights and widths at which all images were run in all batch sizes."""
    largest_difference: float
    """Of any class score, relative to the image's largest (at least 1); of objects, of scores and
    of boxes in sides of the image."""
    tolerance: float
    within_tolerance: int
    """Answers none of whose scores differs by more than the tolerance, of `runs`."""
    same_top1: int
    """Answers whose most probable class is the same, of `runs`; objects of the same class at the
    same place."""
    runs: int
    """Answers compared: one per image, size and batch size, of a segmenter one per pixel, of a
    detector one per object."""
    needed: float
    """Share of the answers that must be the same."""
    passed: bool
    left_out: tuple[str, ...] = ()
    """Steps of the model beyond what was exported and compared: left to whoever runs the file, or
    not there at all."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Quantising:
    """The export of a model in 8-bit integers, and the measure that it may lower."""

    measure: str
    """Number of the report that is compared where there are labels."""
    calibration_images: int
    """Images that the ranges of activations are taken from."""
    agreement_images: int
    """Other images, on which the answers in float32 and in 8-bit integers are compared."""
    batch: int
    """Images that are answered at a time."""


class TaskExport(ABC):
    """A task's part in an export."""

    outputs: ClassVar[tuple[str, ...]]
    """Names of what comes out of the file of any model."""
    parity_images: ClassVar[int]
    """Images on which an exported model is compared."""
    open_batch: ClassVar[bool] = True
    """The file takes any number of images at a time; else one."""
    coarsest_cells: ClassVar[int] = 1
    """Cells of the backbone's coarsest map that an image has at least, along one side."""
    quantising: ClassVar[Quantising | None] = None
    """Its export in 8-bit integers; None where there is none."""

    @property
    def whole(self) -> "WholeExport | None":
        """Its export as a whole file; None where there is none."""
        return None

    def whole_graph(self, model: Any) -> tuple[nn.Module, tuple[str, ...]]:
        """Return the module that is traced for a whole file, and the names of its outputs."""
        return self.graph(model), self.outputs_of(model)

    def outputs_of(self, model: Any) -> tuple[str, ...]:
        """Return the names of what comes out of the file of a model."""
        return self.outputs

    def image_size(self, model: Any, *, dynamic: bool) -> ImageSize:
        """Return the size of the images that a model is exported for."""
        return ImageSize(self.side(model), self.smallest(model) if dynamic else None)

    def side(self, model: Any) -> int:
        """Return the side of the images that a model was made for."""
        return int(model.preprocessing.image_size)

    def smallest(self, model: Recogniser) -> int:
        """Return more than one cell of the coarsest grid, one window and one block.

        Tracing takes a single one for a constant.
        """
        network = model.backbone
        reductions = [info["reduction"] for info in network.feature_info]
        if not isinstance(network, NomMer):
            return int(2 * reductions[-1] + 1)
        config = network.config
        blocks = [
            size * reduction
            for size, reduction in zip(config.block_sizes, config.reductions, strict=False)
        ]
        least = self.coarsest_cells * config.reductions[-1]
        return max(least, config.window_size * config.reductions[len(blocks) - 1], *blocks) + 1

    def notice(self, model: Any, *, dynamic: bool) -> str:
        """Say what a file does otherwise than the model about the size of images."""
        return ""

    def graph(self, model: Any) -> nn.Module:
        """Return the module that is traced: from images to the `outputs`."""
        return model

    def describe(self, model: Any) -> dict[str, Any]:
        """Return what the file tells of itself beside the labels."""
        return {}

    @abstractmethod
    def left_out(self, model: Any, size: ImageSize) -> tuple[str, ...]:
        """List the steps of an answer that are not in the file, beside preparing images."""

    def fit(self, model: Any, images: Mapping[Any, Tensor]) -> dict[Any, Tensor]:
        """Return prepared images as the exported model takes them: their middle."""
        side = self.image_size(model, dynamic=False).usual
        return {name: center_crop(image, [side, side]) for name, image in images.items()}

    def together(self, images: list[Tensor]) -> Prepared:
        """Return images in the form in which `compare` takes them."""
        return torch.stack(images)

    @abstractmethod
    def agreement(self, reference: Any, other: Any, images: list[Tensor]) -> float:
        """Return the share of the answers to prepared images that are the same in both models."""

    @abstractmethod
    def compare(
        self, reference: Any, exported: Any, images: Prepared, size: ImageSize
    ) -> ParityReport:
        """Run both models on the same prepared images.

        Raises:
            InputError: nothing could be compared.
        """


class ScoresExport(TaskExport):
    """The export of a model that gives a score for each class, of an image or of every pixel."""

    batches: ClassVar[tuple[int, ...]]
    """Batch sizes in which the images are compared."""
    needed: ClassVar[float] = 1.0
    """Share of the answers that must be the same."""

    @torch.inference_mode()
    def agreement(self, reference: Any, other: Any, images: list[Tensor]) -> float:
        """Return the share of images, or of pixels, whose most probable class is the same."""
        same = total = 0
        for part in torch.split(
            torch.stack(images), self.quantising.batch if self.quantising else 1
        ):
            equal = reference(part).argmax(1) == other(part).argmax(1)
            same, total = same + int(equal.sum()), total + equal.numel()
        return same / total

    def compare(
        self, reference: Any, exported: Any, images: Prepared, size: ImageSize
    ) -> ParityReport:
        """Run both models in batches of several sizes, resized where any size will do."""
        if not isinstance(images, Tensor):
            images = torch.stack(images)
        reference = reference.eval()
        largest, within, same, runs = 0.0, 0, 0, 0
        for part in self._parts(images, size):
            expected, found = reference(part), exported(part)
            scale = expected.abs().flatten(1).amax(1).clamp_min(1)
            differences = (expected - found).abs().amax(1).reshape(len(part), -1) / scale[:, None]
            largest = max(largest, differences.max().item())
            within += int((differences <= TOLERANCE).sum())
            same += int((expected.argmax(1) == found.argmax(1)).sum())
            runs += differences.numel()
        return ParityReport(
            images=len(images),
            batches=self.batches,
            sizes=size.examples,
            largest_difference=largest,
            tolerance=TOLERANCE,
            within_tolerance=within,
            same_top1=same,
            runs=runs,
            needed=self.needed,
            passed=min(within, same) >= self.needed * runs,
        )

    def _parts(self, images: Tensor, size: ImageSize) -> Iterator[Tensor]:
        """Yield all images at every size in every batch size."""
        for sides in size.examples:
            seen = images
            if sides != images.shape[-2:]:
                seen = F.interpolate(images, sides, mode="bilinear", antialias=True)
            for batch in self.batches:
                yield from torch.split(seen, batch)
