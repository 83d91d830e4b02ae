"""Pooling of boxes from the maps of a feature pyramid."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import roi_align
from torchvision.ops._utils import convert_boxes_to_roi_format
from torchvision.ops.poolers import LevelMapper

from nommer.settings.rcnn import RCNNProtocol


class RoIPool(nn.Module):
    """The maps of a feature pyramid inside boxes, each box from the map that suits its size.

    Always float32.

    Args:
        cells: into which a box is divided, along a side.
        strides: pixels per cell of the maps.
        protocol: how.

    Source: Lin et al., "Feature Pyramid Networks for Object Detection" (2017), equation 1.
    """

    def __init__(self, cells: int, strides: Sequence[int], protocol: RCNNProtocol) -> None:
        super().__init__()
        self.cells, self.strides = cells, strides
        self.sampling_ratio, self.aligned = protocol.sampling_ratio, protocol.aligned
        self.levels = LevelMapper(int(math.log2(strides[0])), int(math.log2(strides[-1])))

    def forward(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Pooled boxes of all images, (boxes, channels, cells, cells).

        Args:
            maps: finest first, one per stride; further ones, which are for proposals only, are left
                out.
            boxes: of each image, (n, 4) in its pixels.
        """
        rois, levels = convert_boxes_to_roi_format(list(boxes)), self.levels(boxes)
        pooled = rois.new_zeros(len(rois), maps[0].shape[1], self.cells, self.cells)
        for level, (map_, stride) in enumerate(zip(maps, self.strides, strict=False)):
            at = (levels == level).nonzero()[:, 0]
            pooled[at] = roi_align(
                map_.float(), rois[at], self.cells, 1 / stride, self.sampling_ratio, self.aligned
            )
        return pooled
