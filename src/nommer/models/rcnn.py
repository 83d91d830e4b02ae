"""Faster, Mask and Cascade R-CNN on any backbone of timm's contract, made of torchvision's parts.

The four feature maps, a norm on each, go through a feature pyramid of five levels to the proposals
and from there to boxes, classes and masks. Source: Ren et al. (2015), Lin et al. (2017), He et al.
(2017), Cai and Vasconcelos (2018).
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from nommer.data.box_transforms import Target
from nommer.errors import InputError
from nommer.models.proposals import ProposalNetwork
from nommer.models.pyramid import NUM_MAPS, OnBackbone, pyramid_of
from nommer.models.roi_heads import RoIHeads
from nommer.models.simple_pyramid import with_pyramid
from nommer.settings.rcnn import PUBLISHED, RCNNProtocol
from nommer.shapes import Images

Image = Float[Tensor, "3 _ _"]
"""A prepared image; those of a batch may differ in size."""


class ObjectNetwork(nn.Module):
    """The demands of a detector on its network."""

    num_classes: int
    has_masks: bool
    protocol: RCNNProtocol

    def detect(
        self, images: Sequence[Image], *, threshold: float, most: int
    ) -> list[dict[str, Tensor]]:
        """The objects in each image; see `RCNN.detect`."""
        raise NotImplementedError


class RCNN(OnBackbone, ObjectNetwork):
    """A detector: prepared images of any size in, their objects out, or the losses in training.

    Args:
        backbone: a NomMer or a network of timm whose last four feature maps halve their sides one
            after the other, or a plain vision transformer, which gets a simple feature pyramid. It
            loses what detection does not use, its final norm and classifier.
        num_classes: classes to tell apart, without background.
        masks: learn the objects' masks too.
        cascade: find boxes in several stages, as `protocol` says.
        fpn_channels: width of the feature pyramid, and of the mask head; 256 as published.
        box_channels: width of the two hidden layers of every box head; 1024 as published.
        protocol: how proposals and boxes are sampled, matched and chosen.

    Raises:
        InputError: a backbone without four such maps, or a number out of range.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        num_classes: int,
        masks: bool = False,
        cascade: bool = False,
        fpn_channels: int = 256,
        box_channels: int = 1024,
        protocol: RCNNProtocol = PUBLISHED,
    ) -> None:
        super().__init__()
        numbers = {
            "num_classes": num_classes,
            "fpn_channels": fpn_channels,
            "box_channels": box_channels,
        }
        for name, value in numbers.items():
            if value < 1:
                raise InputError(f"{name} must be 1 or more, got {value}")
        backbone = with_pyramid(backbone)
        widths, strides = pyramid_of(backbone)
        self.num_classes, self.has_masks, self.is_cascade = num_classes, masks, cascade
        self.fpn_channels, self.box_channels, self.protocol = fpn_channels, box_channels, protocol
        self.strides = [*strides, 2 * strides[-1]]
        """Pixels per cell of the five maps of the feature pyramid."""
        self.backbone: Any = backbone
        self.norms = nn.ModuleList(LayerNorm2d(width) for width in widths)
        self.fpn = FeaturePyramidNetwork(widths, fpn_channels, LastLevelMaxPool())
        self.proposals = ProposalNetwork(fpn_channels, self.strides, protocol)
        self.roi_heads = RoIHeads(
            fpn_channels,
            strides,
            box_channels=box_channels,
            num_classes=num_classes,
            masks=masks,
            cascade=cascade,
            protocol=protocol,
        )

    def forward(
        self, images: Sequence[Image], targets: Sequence[Target] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """In training the losses, by name.

        In evaluation what `detect` finds by the protocol's numbers.

        Args:
            images: (3, h, w) each, normalised.
            targets: in training the objects of each image; boxes lie inside it and have an area.

        Raises:
            InputError: no targets in training, or targets without masks where these are to be
                learned.
        """
        if not self.training:
            return self.detect(images, threshold=self.protocol.threshold, most=self.protocol.most)
        if targets is None or len(targets) != len(images):
            raise InputError("training needs the objects of every image")
        if self.has_masks and not all("masks" in target for target in targets):
            raise InputError("the network learns masks, but objects without masks were given")
        padded = self.pad(images)
        maps = self.feature_maps(padded.tensors)
        proposals, losses = self.proposals(padded, maps, targets)
        return {
            **losses,
            **self.roi_heads.losses(list(maps.values()), proposals, padded.image_sizes, targets),
        }

    def detect(
        self, images: Sequence[Image], *, threshold: float, most: int
    ) -> list[dict[str, Tensor]]:
        """The objects in each image, the best first: of those above `threshold` at most `most`.

        The images of a batch are padded to a common size, and the networks' windows and blocks see
        the padding: an answer is an image's own only if the image is alone, as in `Detector`.

        Returns:
            Per image "boxes" (n, 4) in pixels of the given tensor, "scores" (n,), "labels" (n,)
            counted from 1, and where there are masks "masks" (n, m, m), probabilities in the m x m
            cells of each box.

        Raises:
            FloatingPointError: scores that are NaN or infinite.
        """
        padded = self.pad(images)
        maps = self.feature_maps(padded.tensors)
        if not all(map_.isfinite().all() for map_ in maps.values()):
            raise FloatingPointError("the model's feature maps are NaN or infinite")
        proposals, _ = self.proposals(padded, maps)
        pyramid = list(maps.values())
        answers = self.roi_heads.detect(
            pyramid, proposals, padded.image_sizes, threshold=threshold, most=most
        )
        found = [answer._asdict() for answer in answers]
        for one, masks in zip(found, self.roi_heads.masks(pyramid, answers), strict=False):
            one["masks"] = masks
        return found

    def pad(self, images: Sequence[Image]) -> ImageList:
        """Return one tensor of all images, with zeros up to whole cells of the coarsest map."""
        multiple = self.strides[NUM_MAPS - 1]
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        height, width = (
            -(-max(sides) // multiple) * multiple for sides in zip(*sizes, strict=True)
        )
        batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
        for index, (image, size) in enumerate(zip(images, sizes, strict=True)):
            batch[index, :, : size[0], : size[1]] = image  # gradients reach the images so
        return ImageList(batch, sizes)

    def feature_maps(self, images: Images) -> dict[str, Tensor]:
        """Return the five maps of the feature pyramid, finest first.

        They are (B, fpn_channels, rows, columns) each.
        """
        maps = self.backbone.forward_intermediates(
            images, indices=NUM_MAPS, intermediates_only=True
        )
        normed = [norm(map_) for norm, map_ in zip(self.norms, maps, strict=True)]
        return self.fpn({str(level): map_ for level, map_ in enumerate(normed)})
