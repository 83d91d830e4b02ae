"""Region proposals: torchvision's network with the published loss.

Anchors lie where the maps' cells do.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from nommer.settings.rcnn import RCNNProtocol


class ProposalNetwork(RegionProposalNetwork):  # type: ignore[misc]  # torchvision has no types
    """From the maps of a feature pyramid to boxes that may hold an object of any class.

    Args:
        channels: of every map.
        strides: pixels per cell of every map.
        protocol: how.
    """

    def __init__(self, channels: int, strides: list[int], protocol: RCNNProtocol) -> None:
        super().__init__(
            Anchors(strides, protocol),
            ProposalHead(channels, len(protocol.anchor_ratios)),
            protocol.rpn_positive_iou,
            protocol.rpn_negative_iou,
            protocol.rpn_samples,
            protocol.rpn_positive_share,
            {"training": protocol.candidates_train, "testing": protocol.candidates_test},
            {"training": protocol.proposals_train, "testing": protocol.proposals_test},
            protocol.rpn_nms,
        )
        self.box_beta = protocol.box_beta

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: Sequence[Tensor],
        regression_targets: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """The losses of whether there is an object and of where, over anchors chosen at random.

        Args:
            objectness: (anchors of all images, 1).
            pred_bbox_deltas: (anchors of all images, 4).
            labels: of each image (anchors,): 1 object, 0 background, -1 neither.
            regression_targets: of each image (anchors, 4).
        """
        positive, negative = (
            torch.cat(chosen).nonzero()[:, 0] for chosen in self.fg_bg_sampler(labels)
        )
        sampled, wanted = torch.cat([positive, negative]), torch.cat(list(regression_targets))
        boxes = F.smooth_l1_loss(
            pred_bbox_deltas[positive], wanted[positive], beta=self.box_beta, reduction="sum"
        ) / len(sampled)
        return F.binary_cross_entropy_with_logits(
            objectness[sampled, 0], torch.cat(list(labels))[sampled]
        ), boxes


class ProposalHead(RPNHead):  # type: ignore[misc]
    """torchvision's, whose answers are float32 also under autocast.

    Boxes need more digits than bfloat16 has.
    """

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness and moves, per map and anchor.

        (B, anchors, rows, columns) and (B, 4 anchors, rows, columns).
        """
        objectness, deltas = super().forward(x)
        return [scores.float() for scores in objectness], [moves.float() for moves in deltas]


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """torchvision's, a cell always as wide as its map's stride.

    There, it depends on how far the image is padded.
    """

    def __init__(self, strides: list[int], protocol: RCNNProtocol) -> None:
        sizes = tuple((protocol.anchor_scale * stride,) for stride in strides)
        super().__init__(sizes, (protocol.anchor_ratios,) * len(strides))
        self.strides = strides

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """The boxes of all maps, (anchors, 4) float32, for each image."""
        device = feature_maps[0].device
        self.set_cell_anchors(torch.float32, device)
        steps: list[Any] = [[torch.tensor(stride, device=device)] * 2 for stride in self.strides]
        anchors = torch.cat(self.grid_anchors([map_.shape[-2:] for map_ in feature_maps], steps))
        return [anchors] * len(image_list.image_sizes)
