"""Class, exact box and mask of a proposal, found in one stage or in a cascade of stages.

Each stage of a cascade starts from the boxes of the one before, and all classes move the boxes
alike. Faster R-CNN is one stage, in which each class moves them in its own way.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torchvision.ops import (
    batched_nms,
    remove_small_boxes,
)

from nommer.data.box_transforms import Target
from nommer.models.box_stage import BoxStage, Samples, Size
from nommer.models.mask_head import MaskHead
from nommer.models.roi_pool import RoIPool
from nommer.settings.rcnn import RCNNProtocol

SMALLEST_SIDE = 0.01
"""Least width and height of an answered box, in pixels as the network sees them."""


class Answers(NamedTuple):
    """The objects in one image, the best first."""

    boxes: Float[Tensor, "found 4"]
    scores: Float[Tensor, "found"]
    labels: Integer[Tensor, "found"]
    """Classes, from 1."""


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
