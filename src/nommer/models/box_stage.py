"""One stage of a detector: from pooled proposals to class scores and moved boxes.

Heads, samplers and coders are torchvision's.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn
from torchvision.models.detection import _utils as parts
from torchvision.models.detection.faster_rcnn import (
    FastRCNNConvFCHead,
    FastRCNNPredictor,
    TwoMLPHead,
)
from torchvision.ops import (
    box_iou,
    clip_boxes_to_image,
    generalized_box_iou_loss,
)

from nommer.data.box_transforms import Target
from nommer.settings.rcnn import RCNNProtocol, StageProtocol

Size = tuple[int, int]
"""Height and width in pixels."""


def as_weights(pooled: Tensor, module: nn.Module) -> Tensor:
    """Pooled boxes, which are float32, in the precision of a model that was halved."""
    return pooled.to(next((weight.dtype for weight in module.parameters()), pooled.dtype))


class Samples(NamedTuple):
    """The proposals of one image that a stage learns from."""

    boxes: Float[Tensor, "samples 4"]
    labels: Integer[Tensor, "samples"]
    """Class of the object that each shows, from 1; 0 for background."""
    matches: Integer[Tensor, "samples"]
    """Its index among the image's objects; 0 for background."""
    given: Bool[Tensor, "samples"]
    """True of an object's own box, which is no proposal."""


class BoxStage(nn.Module):
    """One stage: from pooled proposals to class scores and moves, and what it is to learn.

    Args:
        channels: of the pooled maps.
        width: of the two hidden layers.
        num_classes: without background.
        per_class: whether each class moves the boxes in its own way.
        stage: overlap, deviations and weight.
        protocol: the rest.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        num_classes: int,
        per_class: bool,
        stage: StageProtocol,
        protocol: RCNNProtocol,
    ) -> None:
        super().__init__()
        self.head = box_head(channels, width, protocol)
        self.predictor = FastRCNNPredictor(width, num_classes + 1)
        if not per_class:
            self.predictor.bbox_pred = nn.Linear(width, 4)
        self.weight, self.protocol = stage.weight, protocol
        self.matcher = parts.Matcher(stage.iou, stage.iou)
        self.sampler = parts.BalancedPositiveNegativeSampler(
            protocol.roi_samples, protocol.roi_positive_share
        )
        x, y, width_, height = (1 / deviation for deviation in stage.deviations)
        self.coder = parts.BoxCoder((x, y, width_, height))

    def forward(
        self, pooled: Float[Tensor, "boxes channels cells cells"]
    ) -> tuple[Float[Tensor, "boxes classes"], Float[Tensor, "boxes moves 4"]]:
        """Return scores of background and classes, and how to move each box, by class or not."""
        scores, moves = self.predictor(self.head(as_weights(pooled, self)))
        return scores.float(), moves.float().unflatten(1, (-1, 4))

    def sample(self, proposals: Float[Tensor, "proposals 4"], target: Target) -> Samples:
        """Return proposals of one image and its objects' own boxes, chosen at random."""
        own = target["boxes"].to(proposals)
        boxes = torch.cat([proposals, own])
        labels = matches = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
        if len(own):
            found = self.matcher(box_iou(own, boxes))
            matches = found.clamp(min=0)
            labels = torch.where(found >= 0, target["labels"][matches], 0)
        (positive,), (negative,) = self.sampler([labels])
        chosen = (positive | negative).nonzero()[:, 0]
        return Samples(boxes[chosen], labels[chosen], matches[chosen], chosen >= len(proposals))

    def losses(
        self,
        scores: Float[Tensor, "boxes classes"],
        moves: Float[Tensor, "boxes moves 4"],
        samples: Sequence[Samples],
        targets: Sequence[Target],
    ) -> tuple[Tensor, Tensor]:
        """Of the classes, the mean over all samples.

        Of the boxes, over all samples the sum of those with an object.
        """
        labels = torch.cat([sample.labels for sample in samples])
        if not len(labels):
            return scores.sum() * 0.0, moves.sum() * 0.0
        shows = labels.nonzero()[:, 0]
        boxes = torch.cat([sample.boxes for sample in samples])[shows]
        of_objects = [
            t["boxes"].to(boxes)[s.matches[s.labels > 0]]
            for s, t in zip(samples, targets, strict=True)
        ]
        learned = moves[shows, labels[shows] if moves.shape[1] > 1 else 0]
        box_loss = self._box_loss(learned, boxes, torch.cat(of_objects)) / len(labels)
        return F.cross_entropy(scores, labels), box_loss

    def _box_loss(
        self,
        moves: Float[Tensor, "boxes 4"],
        boxes: Float[Tensor, "boxes 4"],
        objects: Float[Tensor, "boxes 4"],
    ) -> Tensor:
        """The sum over all boxes of how far they are, once moved, from their objects."""
        if self.protocol.box_loss == "giou":
            moved = self.coder.decode_single(moves, boxes)
            return self.protocol.giou_weight * generalized_box_iou_loss(
                moved, objects, reduction="sum"
            )
        wanted = self.coder.encode_single(objects, boxes)
        return F.smooth_l1_loss(moves, wanted, beta=self.protocol.box_beta, reduction="sum")

    def move(
        self, boxes: Sequence[Tensor], moves: Float[Tensor, "boxes moves 4"], shapes: Sequence[Size]
    ) -> list[Any]:
        """The moved boxes of each image, (boxes, moves, 4), inside it."""
        moved = self.coder.decode_single(moves.flatten(1), torch.cat(list(boxes))).unflatten(
            1, (-1, 4)
        )
        of_images = moved.split([len(of_image) for of_image in boxes])
        return [
            clip_boxes_to_image(part, shape) for part, shape in zip(of_images, shapes, strict=True)
        ]


def box_head(channels: int, width: int, protocol: RCNNProtocol) -> nn.Module:
    """From pooled boxes (boxes, channels, cells, cells) to (boxes, width).

    Two hidden layers, or convolutions and one.

    Source: Ren et al. (2015); Wu and He, "Group Normalization" (2018), section 4.2, for the
    convolutions.
    """
    cells = protocol.box_cells
    if not protocol.box_convolutions:
        return TwoMLPHead(channels * cells**2, width)
    return FastRCNNConvFCHead(
        (channels, cells, cells),
        [channels] * protocol.box_convolutions,
        [width],
        norm_layer=nn.BatchNorm2d,
    )
