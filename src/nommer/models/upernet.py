"""UPerNet on any backbone of timm's contract.

Pyramid pooling over the coarsest map, a feature pyramid over all four.

The decoder is segmentation_models_pytorch's. In training an auxiliary FCN head on the third map
(stride 16) helps the deeper stages; both heads are as in the published ADE20K recipe. Source: Xiao
et al., "Unified Perceptual Parsing for Scene Understanding" (2018).
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from nommer.backbone.layout import pad_maps
from nommer.errors import InputError
from nommer.models.inference import DenseNetwork
from nommer.models.pyramid import NUM_MAPS, OnBackbone, pyramid_of
from nommer.models.simple_pyramid import with_pyramid
from nommer.shapes import ClassMap, Images, PixelLogits


class UPerNet(OnBackbone, DenseNetwork):
    """A semantic segmenter: images of any size in, one score per class and pixel out.

    Args:
        backbone: a NomMer or a network of timm whose last four feature maps halve their sides one
            after the other, or a plain vision transformer, which gets a simple feature pyramid. It
            loses what segmentation does not use, its final norm and classifier.
        num_classes: classes to tell apart.
        decoder_channels: width of the decoder; 512 as published.
        auxiliary_channels: width of the auxiliary head; 256 as published, 0 for none.
        dropout: share of channels dropped before each classifier in training.

    Raises:
        InputError: a backbone without four such maps, or a number out of range.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        num_classes: int,
        decoder_channels: int = 512,
        auxiliary_channels: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        _check_numbers(num_classes, decoder_channels, auxiliary_channels, dropout)
        backbone = with_pyramid(backbone)
        channels, strides = pyramid_of(backbone)
        self.num_classes, self.stride, self._coarsest = num_classes, strides[0], strides[-1]
        self.decoder_channels, self.auxiliary_channels = decoder_channels, auxiliary_channels
        self.dropout = dropout
        self.backbone: Any = backbone
        self.decoder: Any = _decoder(channels, decoder_channels)
        self.classifier = _classifier(decoder_channels, num_classes, dropout)
        self.auxiliary: nn.Module | None = None
        if auxiliary_channels:
            self.auxiliary = _fcn_head(channels[2], auxiliary_channels, num_classes, dropout)

    def forward(self, images: Images) -> PixelLogits:
        """Return class scores (B, classes, H, W) of normalised images, bilinear from `scores`."""
        return enlarge(self.scores(images), images, self.stride)

    def forward_with_auxiliary(self, images: Images) -> tuple[PixelLogits, PixelLogits | None]:
        """Class scores (B, classes, H, W) and those of the auxiliary head, None without one.

        For training.
        """
        maps = self.feature_maps(images)
        scores = enlarge(self._head(maps), images, self.stride)
        if self.auxiliary is None:
            return scores, None
        auxiliary = self.auxiliary(self.decoder.feature_norms[2](maps[2]))
        return scores, enlarge(auxiliary, images, 4 * self.stride)

    def scores(self, images: Images) -> ClassMap:
        """Class scores at the finest stride, (B, classes, ceil(H / stride), ceil(W / stride))."""
        rows, columns = ((side + self.stride - 1) // self.stride for side in images.shape[-2:])
        return self._head(self.feature_maps(images))[..., :rows, :columns]

    def feature_maps(self, images: Images) -> list[Tensor]:
        """The four maps of the backbone, finest first, (B, width, rows, columns) each.

        Images are padded with zeros at the right and bottom until the coarsest stride divides them:
        only then do the cells of all four maps lie on each other, which the decoder takes for
        granted.
        """
        padded = pad_maps(images, self._coarsest, "constant")
        return self.backbone.forward_intermediates(
            padded, indices=NUM_MAPS, intermediates_only=True
        )

    def _head(self, maps: list[Tensor]) -> ClassMap:
        return self.classifier(
            self.decoder([maps[0], maps[0], *maps])
        )  # the decoder leaves out the first two


class TolerantBatchNorm(nn.BatchNorm2d):
    """A batch norm for batches that hold one value per channel, which has no variance.

    Then it uses its running statistics.

    So pyramid pooling to 1 x 1 trains with one image per batch.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normalised maps (B, width, rows, columns)."""
        if self.training and maps.numel() == maps.shape[1]:
            return F.batch_norm(
                maps, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(maps)


def enlarge(scores: ClassMap, images: Images, stride: int) -> PixelLogits:
    """Scores at the images' size.

    Bilinear, every cell over the pixels that it stands for, the rest cut off.

    Args:
        scores: (B, classes, rows, columns), of which rows * stride and columns * stride cover the
            images.
        images: (B, 3, H, W).
        stride: pixels per cell along one side.
    """
    enlarged = F.interpolate(
        scores, scale_factor=float(stride), mode="bilinear", align_corners=False
    )
    return enlarged[..., : images.shape[-2], : images.shape[-1]]


def _check_numbers(
    num_classes: int, decoder_channels: int, auxiliary_channels: int, dropout: float
) -> None:
    for name, value, minimum in (
        ("num_classes", num_classes, 1),
        ("decoder_channels", decoder_channels, 1),
        ("auxiliary_channels", auxiliary_channels, 0),
    ):
        if value < minimum:
            raise InputError(f"{name} must be {minimum} or more, got {value}")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout must be at least 0 and below 1, got {dropout}")


def _decoder(channels: list[int], width: int) -> nn.Module:
    from segmentation_models_pytorch.base.initialization import initialize_decoder  # noqa: PLC0415 - slow to import
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder  # noqa: PLC0415

    decoder = UPerNetDecoder([0, 0, *channels], encoder_depth=NUM_MAPS + 1, decoder_channels=width)
    initialize_decoder(decoder)
    for module in list(decoder.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, TolerantBatchNorm(child.num_features))
    return decoder


def _fcn_head(channels: int, width: int, num_classes: int, dropout: float) -> nn.Module:
    conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    nn.init.kaiming_uniform_(conv.weight, nonlinearity="relu")
    head = _classifier(width, num_classes, dropout)
    return nn.Sequential(conv, TolerantBatchNorm(width), nn.ReLU(), *head)


def _classifier(channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    conv = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(nn.Dropout2d(dropout), conv)
