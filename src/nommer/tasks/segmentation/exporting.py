"""Segmentation in an export: the scores of every pixel, and those of the cells behind them."""

from typing import Any

from torch import nn

from nommer.models.exported_networks import CELLS, OUTPUT
from nommer.models.segmentation import Segmenter
from nommer.models.upernet import enlarge
from nommer.shapes import ClassMap, Images, PixelLogits
from nommer.tasks.exporting import Quantising, ScoresExport
from nommer.tasks.image_size import ImageSize
from nommer.tasks.whole import WholeExport

ODD_PIXELS = 1e-3
"""Share of the pixels that may differ more: where two contexts, or two classes, are equally good
but for rounding, the other one may win, and changes the pixels around it."""


class SegmentationExport(ScoresExport):
    """One score per class and pixel."""

    outputs = (OUTPUT, CELLS)
    parity_images = 4
    batches = (1, 3)
    needed = 1 - ODD_PIXELS
    quantising = Quantising(measure="miou", calibration_images=16, agreement_images=16, batch=1)

    @property
    def whole(self) -> WholeExport:
        """Return the parts around the network."""
        from nommer.tasks.segmentation.whole import WholeSegmentation  # noqa: PLC0415 - for whole files alone

        return WholeSegmentation()

    def side(self, model: Segmenter) -> int:
        """Return the side of the training crops, up to whole cells."""
        stride = model.network.stride
        return -(-model.preprocessing.image_size // stride) * stride

    def notice(self, model: Segmenter, *, dynamic: bool) -> str:
        """Say how a file of one size goes over images."""
        if dynamic:
            return ""
        side = self.side(model)
        return (
            f"the file goes over images in windows of {side} x {side} pixels and pads smaller "
            "ones, so it answers as the model does with --inference.mode slide; --dynamic-size "
            "takes images whole"
        )

    def graph(self, model: Segmenter) -> nn.Module:
        """Return both outputs."""
        return PixelsAndCells(model)

    def describe(self, model: Segmenter) -> dict[str, Any]:
        """Return the pixels per cell."""
        return {"stride": model.network.stride}

    def left_out(self, model: Segmenter, size: ImageSize) -> tuple[str, ...]:
        """List windows, where the size is fixed, and the way back to the image's size."""
        side = f"{size.usual} x {size.usual}"
        windows = f"going over larger images in windows of {side} pixels"
        back = "bringing scores to the size of the original image"
        return (windows, back) if size.smallest is None else (back,)


class PixelsAndCells(nn.Module):
    """Both outputs of an exported segmenter."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.network = model.network

    def forward(self, images: Images) -> tuple[PixelLogits, ClassMap]:
        """Return class scores of every pixel (B, classes, H, W), and of the cells behind them."""
        cells = self.network.scores(images)
        return enlarge(cells, images, self.network.stride), cells
