"""Class, exact box and mask of a proposal, found in one stage or in a cascade of stages.

Each stage of a cascade starts from the boxes of the one before, and all classes move the boxes
alike. Faster R-CNN is one stage, in which each class moves them in its own way. Heads, samplers and
coders are torchvision's.
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
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import (
    batched_nms,
    box_iou,
    clip_boxes_to_image,
    generalized_box_iou_loss,
    remove_small_boxes,
)

from nommer.data.box_transforms import Target
from nommer.models.object_masks import crop_masks
from nommer.models.roi_pool import RoIPool
from nommer.settings.rcnn import RCNNProtocol, StageProtocol

SMALLEST_SIDE = 0.01
"""Least width and height of an answered box, in pixels as the network sees them."""

Size = tuple[int, int]
"""Height and width in pixels."""


def _as_weights(pooled: Tensor, module: nn.Module) -> Tensor:
    """Pooled boxes, which are float32, in the precision of a model that was halved."""
    return pooled.to(next((weight.dtype for weight in module.parameters()), pooled.dtype))


class Samples(NamedTuple):
    """The proposals of one image that a stage learns from."""

    boxes: Float[Tensor, "samples 4"]
    labels: Integer[Tensor, "samples"]
    """Class of the object that each shows, from 1; 0 for background."""
    matches: Integer[Tensor, "samples"]
    """Which of the image's objects that is; 0 for background."""
    given: Bool[Tensor, "samples"]
    """True of an object's own box, which is no proposal."""


class Answers(NamedTuple):
    """The objects in one image, the best first."""

    boxes: Float[Tensor, "found 4"]
    scores: Float[Tensor, "found"]
    labels: Integer[Tensor, "found"]
    """Classes, from 1."""


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
        scores, moves = self.predictor(self.head(_as_weights(pooled, self)))
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


class MaskHead(nn.Module):
    """From pooled boxes to the probabilities of a mask, of each class."""

    def __init__(self, channels: int, *, num_classes: int, protocol: RCNNProtocol) -> None:
        super().__init__()
        self.head = MaskRCNNHeads(channels, (channels,) * 4, 1)
        self.predictor = MaskRCNNPredictor(channels, channels, num_classes + 1)
        self.aligned = protocol.aligned

    def forward(
        self, pooled: Float[Tensor, "boxes channels cells cells"], labels: Integer[Tensor, "boxes"]
    ) -> Tensor:
        """Logits (boxes, 2 cells, 2 cells) of the masks of these classes, counted from 1."""
        logits = self.predictor(self.head(_as_weights(pooled, self))).float()
        return logits[torch.arange(len(labels), device=labels.device), labels]

    def loss(
        self,
        logits: Float[Tensor, "boxes rows columns"],
        targets: Float[Tensor, "boxes rows columns"],
    ) -> Tensor:
        """Mean over all cells; 0 without boxes."""
        return (
            F.binary_cross_entropy_with_logits(logits, targets)
            if len(logits)
            else logits.sum() * 0.0
        )

    def targets(self, samples: Samples, target: Target, *, cells: int) -> Tensor:
        """Return the targets (boxes, cells, cells), for the samples that show objects."""
        shows = samples.labels > 0
        return crop_masks(
            target["masks"],
            samples.boxes[shows],
            samples.matches[shows],
            cells=cells,
            aligned=self.aligned,
        )


class RoIHeads(nn.Module):
    """All stages and, where masks are wanted, the mask head, which takes the last stage's boxes.

    Args:
        channels: of the maps of the feature pyramid.
        strides: pixels per cell of those maps that boxes are pooled from.
        box_channels: width of the hidden layers of each stage.
        num_classes: without background.
        masks: whether masks are wanted.
        cascade: whether there are several stages.
        protocol: how.
    """

    def __init__(
        self,
        channels: int,
        strides: Sequence[int],
        *,
        box_channels: int,
        num_classes: int,
        masks: bool,
        cascade: bool,
        protocol: RCNNProtocol,
    ) -> None:
        super().__init__()
        self.protocol = protocol
        self.box_pool = RoIPool(protocol.box_cells, strides, protocol)
        self.stages: Any = nn.ModuleList(
            BoxStage(
                channels,
                box_channels,
                num_classes=num_classes,
                per_class=not cascade,
                stage=stage,
                protocol=protocol,
            )
            for stage in protocol.stages(cascade=cascade)
        )
        self.mask_pool = RoIPool(protocol.mask_cells, strides, protocol)
        self.mask_head = (
            MaskHead(channels, num_classes=num_classes, protocol=protocol) if masks else None
        )

    def losses(
        self,
        maps: Sequence[Tensor],
        proposals: Sequence[Tensor],
        shapes: Sequence[Size],
        targets: Sequence[Target],
    ) -> dict[str, Tensor]:
        """The losses of classes, boxes and masks.

        Those of several stages are added up by their weights.
        """
        classes: Any = 0.0
        boxes: Any = 0.0
        for stage in self.stages:
            samples = [stage.sample(*pair) for pair in zip(proposals, targets, strict=True)]
            sampled = [sample.boxes for sample in samples]
            scores, moves = stage(self.box_pool(maps, sampled))
            of_classes, of_boxes = stage.losses(scores, moves, samples, targets)
            classes, boxes = classes + stage.weight * of_classes, boxes + stage.weight * of_boxes
            if stage is not self.stages[-1]:
                moved = stage.move(sampled, moves.detach(), shapes)
                proposals = [
                    part[~sample.given, 0] for part, sample in zip(moved, samples, strict=True)
                ]
        losses = {"loss_classifier": classes, "loss_box_reg": boxes}
        if self.mask_head is not None:
            losses["loss_mask"] = self._mask_loss(self.mask_head, maps, samples, targets)
        return losses

    def _mask_loss(
        self,
        head: MaskHead,
        maps: Sequence[Tensor],
        samples: Sequence[Samples],
        targets: Sequence[Target],
    ) -> Tensor:
        pooled = self.mask_pool(maps, [sample.boxes[sample.labels > 0] for sample in samples])
        logits = head(pooled, torch.cat([sample.labels[sample.labels > 0] for sample in samples]))
        wanted = [
            head.targets(*pair, cells=logits.shape[-1])
            for pair in zip(samples, targets, strict=True)
        ]
        return head.loss(logits, torch.cat(wanted))

    def detect(
        self,
        maps: Sequence[Tensor],
        proposals: Sequence[Tensor],
        shapes: Sequence[Size],
        *,
        threshold: float,
        most: int,
    ) -> list[Answers]:
        """Return the objects in the proposals of each image.

        The last stage's boxes, scored by the mean of all stages' scores.

        Raises:
            FloatingPointError: scores that are NaN or infinite.
        """
        boxes, scores = list(proposals), []
        for stage in self.stages:
            of_stage, moves = stage(self.box_pool(maps, boxes))
            scores.append(of_stage)
            moved = stage.move(boxes, moves, shapes)
            boxes = [part[:, 0] for part in moved]  # for a next stage, which only cascades have
        mean = torch.stack(scores).mean(0)
        if not mean.isfinite().all():
            raise FloatingPointError("the model's scores are NaN or infinite")
        probabilities = torch.split(mean.softmax(-1), [len(part) for part in moved])
        return [
            self._best(*pair, threshold=threshold, most=most)
            for pair in zip(moved, probabilities, strict=True)
        ]

    def _best(
        self,
        boxes: Float[Tensor, "proposals moves 4"],
        probabilities: Float[Tensor, "proposals classes"],
        *,
        threshold: float,
        most: int,
    ) -> Answers:
        """Return the pairs of box and class above the threshold, without doubles, best first."""
        at, labels = (probabilities[:, 1:] > threshold).nonzero().unbind(1)
        labels = labels + 1
        scores, boxes = probabilities[at, labels], boxes[at, labels if boxes.shape[1] > 1 else 0]
        kept = remove_small_boxes(boxes, SMALLEST_SIDE)
        kept = kept[batched_nms(boxes[kept], scores[kept], labels[kept], self.protocol.nms)[:most]]
        return Answers(boxes[kept], scores[kept], labels[kept])

    def masks(self, maps: Sequence[Tensor], answers: Sequence[Answers]) -> list[Tensor]:
        """Return the probabilities (found, 2 cells, 2 cells) of masks in their boxes."""
        if self.mask_head is None:
            return []
        labels = torch.cat([answer.labels for answer in answers])
        logits = self.mask_head(self.mask_pool(maps, [answer.boxes for answer in answers]), labels)
        return list(logits.sigmoid().split([len(answer.labels) for answer in answers]))
