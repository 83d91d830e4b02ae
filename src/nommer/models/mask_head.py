"""Masks of objects inside their boxes."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from nommer.data.box_transforms import Target
from nommer.models.box_stage import Samples, as_weights
from nommer.models.object_masks import crop_masks
from nommer.settings.rcnn import RCNNProtocol


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
        logits = self.predictor(self.head(as_weights(pooled, self))).float()
        return logits[torch.arange(labels.shape[0], device=labels.device), labels]

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
