"""From a model and images to vectors: pooled feature maps of a stage of its network."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.ops import roi_align

from nommer.backbone.network import NomMer
from nommer.data.sources import ImageSource, source_name
from nommer.errors import InputError
from nommer.models.evaluation_mode import evaluating
from nommer.models.pyramid import NUM_MAPS
from nommer.models.recogniser import Recogniser, View, open_source
from nommer.models.storage import network_of
from nommer.predictions import Failure
from nommer.predictions.failure import NOT_FINITE

Pool = Literal["mean", "token"]

_CELLS = 4
"""Cells along a side of a box of which the mean is taken."""


@dataclass(frozen=True)
class Place:
    """Meaning of one vector: its image, and its object or region."""

    source: str
    """The image's path."""
    label: str = ""
    """Its class, where that is known."""
    split: str = ""
    box: tuple[float, float, float, float] | None = None
    """Left, upper, right and lower end in pixels of the image; None for all of it."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """n vectors, and what each is of."""

    values: np.ndarray
    """(n, d) float32."""
    places: tuple[Place, ...]
    failures: tuple[Failure, ...] = ()
    """Images that could not be read."""

    def directions(self) -> np.ndarray:
        """(n, d) float32 of length 1, whose products are cosines; zeros stay zeros."""
        lengths = np.linalg.norm(self.values, axis=1, keepdims=True)
        return self.values / np.maximum(lengths, np.finfo(np.float32).tiny)


class Embedder:
    """Vectors of a model's network.

    Args:
        model: in PyTorch, on its device.
        stage: 1 to 4; None for the normalised features that a classifier sees.
        pool: mean of all places, or the class token.

    Raises:
        InputError: an exported model, or a network without a class token.
    """

    def __init__(self, model: Recogniser, *, stage: int | None = None, pool: Pool = "mean") -> None:
        if model.exported is not None:
            raise InputError(
                "nommer embed: an exported model has no stages to take vectors from; give the "
                "model it was made from"
            )
        network_of(model, "the model")  # an ensemble has several
        self.model, self.stage, self.pool = model, stage, pool
        prefix = getattr(model.backbone, "num_prefix_tokens", 0)
        if pool == "token" and not prefix:
            raise InputError("--pool token: this network has no class token; leave it out")

    def of_images(
        self, sources: Iterable[ImageSource], batch_size: int = 32
    ) -> Iterator[tuple[ImageSource, np.ndarray | Failure]]:
        """Yield each image with its vector, (d,) float32; a batch is in memory at a time."""
        size, remaining = batch_size if self.model.one_size else 1, iter(sources)
        while group := list(islice(remaining, size)):
            views = [self._view(source) for source in group]
            seen = [view.prepared for view in views if isinstance(view, View)]
            vectors = iter(self._pooled(torch.stack(seen)).numpy() if seen else ())
            for source, view in zip(group, views, strict=True):
                yield source, view if isinstance(view, Failure) else next(vectors)

    def of_boxes(self, source: ImageSource, boxes: np.ndarray) -> np.ndarray | Failure:
        """Return (n, d) vectors of the boxes (n, 4) in pixels of an image.

        A network that sees images of one size sees each box cut out; of others the map of the whole
        image is pooled in the boxes.
        """
        image = open_source(source, self.model.preprocessing.reading)
        if isinstance(image, Failure):
            return image
        if self.model.one_size:
            cut = [self.model.view(image.crop(whole_pixels(box, image.size))) for box in boxes]
            return self._pooled(torch.stack([view.prepared for view in cut])).numpy()
        view = self.model.view(image)
        maps = self._map(view.prepared[None])
        cells = np.array([maps.shape[3] / image.width, maps.shape[2] / image.height] * 2)
        rois = torch.from_numpy(boxes * cells).float()
        where = torch.cat([torch.zeros(len(rois), 1), rois], 1)
        return roi_align(maps, where, _CELLS, aligned=True).mean((2, 3)).numpy()

    def of_regions(self, source: ImageSource) -> tuple[np.ndarray, list[str]] | Failure:
        """Return (n, d) vectors of the classes' regions that a segmenter finds, and their names."""
        image = open_source(source, self.model.preprocessing.reading)
        if isinstance(image, Failure):
            return image
        view = self.model.view(image)
        answer = self.model.answer(view, source_name(source))
        if answer is None:
            return Failure(source_name(source), NOT_FINITE)
        maps, names = self._map(view.prepared[None])[0], list(answer.shares)
        labels = torch.from_numpy(answer.labels.astype(np.int64))
        found = []
        for name in names:
            inside = (labels == answer.class_names.index(name)).float()[None, None]
            weights = adaptive_avg_pool2d(inside, (maps.shape[1], maps.shape[2]))[0, 0]
            found.append((maps * weights).sum((1, 2)) / weights.sum())
        return torch.stack(found).numpy(), names

    def _view(self, source: ImageSource) -> View | Failure:
        image = open_source(source, self.model.preprocessing.reading)
        return image if isinstance(image, Failure) else self.model.view(image)

    def _pooled(self, images: Tensor) -> Tensor:
        """(B, d) float32 vectors of prepared images (B, 3, H, W), on the CPU."""
        if self.pool == "mean":
            return self._map(images).mean((2, 3))
        ((_, tokens),) = self._stage(images, return_prefix_tokens=True)
        return tokens[:, 0].float().cpu()

    def _map(self, images: Tensor) -> Tensor:
        """(B, d, rows, columns) float32 map of prepared images (B, 3, H, W), on the CPU."""
        (found,) = self._stage(images)
        return found.float().cpu()

    @torch.inference_mode()
    def _stage(self, images: Tensor, **options: Any) -> list[Any]:
        """The stage's output, as timm's contract has it; of a plain transformer that of a block."""
        with evaluating(self.model) as model:
            backbone: Any = model.backbone
            if isinstance(backbone, NomMer):
                options["norm"] = self.stage is None
            found = backbone.forward_intermediates(
                images.to(self.model.device, self.model.dtype),
                indices=NUM_MAPS,
                intermediates_only=True,
                **options,
            )
        return [found[-1 if self.stage is None else self.stage - 1]]


def whole_pixels(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the pixels of a box, at least one, inside an image of width and height `size`."""
    left, upper = (min(max(0, int(v)), side - 1) for v, side in zip(box[:2], size, strict=True))
    right, lower = (int(np.ceil(v)) for v in box[2:])
    return left, upper, max(left + 1, min(right, size[0])), max(upper + 1, min(lower, size[1]))
