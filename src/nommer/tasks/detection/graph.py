"""A whole detector written so that `torch.export` can follow it.

One image in, its boxes, scores and classes out.

torchvision's own code asks Python how many boxes there are; here their number stays open, and
everything else is the detector's: its maps, heads, anchors and coders. Masks are left out.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

from nommer.backbone.layout import Side, pad_maps
from nommer.models.detection import Detector
from nommer.models.roi_heads import SMALLEST_SIDE
from nommer.models.roi_pool import RoIPool
from nommer.shapes import Images

CELLS_OF_MASKS = "cells_of_masks"
"""Name of the masks in the cells of their boxes, before they are pasted."""


class ObjectsOfOne(nn.Module):
    """The objects in one image.

    Boxes (n, 4) in its pixels, scores (n,), classes (n,) counted from 0, best first; with `masks`
    the probabilities (n, m, m) of their masks in the m x m cells of their boxes.
    """

    def __init__(self, model: Detector, *, masks: bool = False) -> None:
        super().__init__()
        self.network: Any = model.network
        self.masks = masks

    def forward(self, images: Images) -> tuple[Tensor, ...]:
        """Return the objects in an image (1, 3, H, W)."""
        network = self.network
        height, width = images.shape[-2:]
        maps = list(
            network.feature_maps(pad_maps(images, network.strides[-2], "constant")).values()
        )
        boxes = self._proposals(maps, height, width)
        all_scores = []
        for stage in network.roi_heads.stages:
            scores, moves = stage(_pool(network.roi_heads.box_pool, maps, boxes))
            all_scores.append(scores)
            moved = stage.coder.decode_single(moves.flatten(1), boxes).unflatten(1, (-1, 4))
            moved = _inside(moved, height, width)
            boxes = moved[:, 0]
        shares = torch.stack(all_scores).mean(0).softmax(-1)
        found = self._best(moved, shares, far=height + width)
        return (*found, self._masks(maps, found[0], found[2])) if self.masks else found

    def _masks(self, maps: list[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Probabilities of the masks of objects, in the cells of their boxes."""
        heads = self.network.roi_heads
        return heads.mask_head(_pool(heads.mask_pool, maps, boxes), labels + 1).sigmoid()

    def _proposals(self, maps: list[Tensor], height: Side, width: Side) -> Tensor:
        """Boxes that may hold an object, (n, 4)."""
        part, protocol = self.network.proposals, self.network.protocol
        objectness, deltas = part.head(maps)
        generator, boxes, scores, levels = part.anchor_generator, [], [], []
        generator.set_cell_anchors(torch.float32, maps[0].device)
        steps = [[torch.tensor(stride)] * 2 for stride in generator.strides]
        anchors = generator.grid_anchors([map_.shape[-2:] for map_ in maps], steps)
        for level, (score, delta, of_level) in enumerate(
            zip(objectness, deltas, anchors, strict=True)
        ):
            flat = score.permute(0, 2, 3, 1).reshape(-1)
            moves = delta.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).reshape(-1, 4)
            best, at = flat.topk(torch.sym_min(protocol.candidates_test, flat.shape[0]))
            boxes.append(part.box_coder.decode_single(moves[at], of_level[at]))
            scores.append(best.sigmoid())
            levels.append(torch.full_like(at, level))
        found = _inside(torch.cat(boxes), height, width)
        large = _large(found, part.min_size)
        found, likely, groups = found[large], torch.cat(scores)[large], torch.cat(levels)[large]
        return found[
            _nms(found, likely, groups, protocol.rpn_nms, far=height + width)[
                : protocol.proposals_test
            ]
        ]

    def _best(
        self, boxes: Tensor, probabilities: Tensor, *, far: Side
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All pairs of box and class above the threshold, without doubles, the best first."""
        protocol = self.network.protocol
        at, labels = (probabilities[:, 1:] > protocol.threshold).nonzero().unbind(1)
        scores = probabilities[at, labels + 1]
        found = boxes[at, labels + 1 if boxes.shape[1] > 1 else torch.zeros_like(labels)]
        large = _large(found, SMALLEST_SIDE)
        found, scores, labels = found[large], scores[large], labels[large]
        kept = _nms(found, scores, labels, protocol.nms, far=far)[: protocol.most]
        return found[kept], scores[kept], labels[kept]


def _inside(boxes: Tensor, height: Side, width: Side) -> Tensor:
    """Boxes (..., 4) clipped to an image."""
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)


def _large(boxes: Tensor, least: float) -> Tensor:
    """Indices of the boxes whose sides are at least so long."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return (sides >= least).all(1).nonzero()[:, 0]


def _nms(boxes: Tensor, scores: Tensor, groups: Tensor, overlap: float, *, far: Side) -> Tensor:
    """`torchvision.ops.batched_nms`: groups are shifted `far` apart, so that they never overlap."""
    return nms(boxes + (groups * far)[:, None].to(boxes), scores, overlap)


def _pool(pool: RoIPool, maps: list[Tensor], boxes: Tensor) -> Tensor:
    """As `pool`: every box is pooled from every map, and taken from the one that suits its size."""
    levels = pool.levels([boxes])
    rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)
    pooled = None
    for level, (map_, stride) in enumerate(zip(maps, pool.strides, strict=False)):
        of_level = roi_align(
            map_.float(), rois, pool.cells, 1 / stride, pool.sampling_ratio, pool.aligned
        )
        pooled = (
            of_level
            if pooled is None
            else torch.where((levels == level)[:, None, None, None], of_level, pooled)
        )
    return cast("Tensor", pooled)
