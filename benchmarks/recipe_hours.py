"""Estimate the GPU hours of the published recipes from one measured training speed.

    python benchmarks/recipe_hours.py --images-per-second 1894

The estimate: a training does as many multiply-accumulates per second as `nommer_tiny` does at 224 x
224 where it trains --images-per-second, so hours = images x GMACs of an image's forward pass /
(images per second x GMACs of `nommer_tiny`) / 3600. It leaves out validation and loading, and what
dense and small work (upsampling, matching, proposals, memory that is full) runs slower at; so it is
a lower bound rather than a forecast.
"""

import argparse

import timm
import torch
from torch import nn

from nommer.models.costs import giga_macs
from nommer.models.rcnn import RCNN
from nommer.models.upernet import UPerNet
from nommer.settings.rcnn import RCNNProtocol

SIZES = ("nommer_tiny", "nommer_small", "nommer_base")
COCO_SIDE = 928
"""A square with the pixels of COCO's usual 1067 x 800, in whole cells of 32."""
IMAGES = {
    "imagenet1k": 320 * 1_281_167,
    "ade20k_upernet_160k": 160_000 * 16,
    "coco_mask_rcnn_1x": 12 * 117_266,
    "coco_mask_rcnn_3x": 36 * 117_266,
    "coco_cascade_rcnn_1x": 12 * 117_266,
    "coco_cascade_rcnn_3x": 36 * 117_266,
}
"""Images that pass through each training."""


def backbone(variant: str) -> nn.Module:
    """Return the network without a classifier."""
    return timm.create_model(variant, num_classes=0)


class Maps(nn.Module):
    """The part of a detector that sees the image.

    Backbone, pyramid and the convolutions that propose.
    """

    def __init__(self, detector: RCNN) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: torch.Tensor) -> object:
        """From the image to scores and boxes at every position."""
        return self.detector.proposals.head(list(self.detector.feature_maps(images).values()))


class Regions(nn.Module):
    """The part of a detector that sees regions.

    As many as are sampled in a step, masks for those that hold objects.
    """

    def __init__(self, detector: RCNN) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: torch.Tensor) -> None:
        """Run the heads; the image only says on which device."""
        heads, channels = self.detector.roi_heads, self.detector.fpn_channels
        samples = heads.protocol.roi_samples
        for stage in heads.stages:
            stage.predictor(
                stage.head(images.new_zeros(samples, channels, *[heads.protocol.box_cells] * 2))
            )
        masked = round(samples * heads.protocol.roi_positive_share)
        cells = images.new_zeros(masked, channels, *[heads.protocol.mask_cells] * 2)
        heads.mask_head.predictor(heads.mask_head.head(cells))


def costs(variant: str) -> dict[str, float]:
    """Return GMACs of the forward pass of one training image, per recipe."""
    with torch.device("meta"):
        found = {
            "imagenet1k": giga_macs(timm.create_model(variant), 224),
            "ade20k_upernet_160k": giga_macs(UPerNet(backbone(variant), num_classes=150), 512),
        }
        protocols = {
            "mask": RCNNProtocol(),
            "cascade": RCNNProtocol(box_loss="giou", box_convolutions=4),
        }
        for name, protocol in protocols.items():
            cascade = name == "cascade"
            detector = RCNN(
                backbone(variant), num_classes=80, masks=True, cascade=cascade, protocol=protocol
            )
            macs = giga_macs(Maps(detector), COCO_SIDE) + giga_macs(Regions(detector), COCO_SIDE)
            found |= {f"coco_{name}_rcnn_{length}": macs for length in ("1x", "3x")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images-per-second",
        type=float,
        required=True,
        help="nommer_tiny in training, 224 x 224, measured",
    )
    speed = parser.parse_args().images_per_second
    of_all = {variant: costs(variant) for variant in SIZES}
    rate = speed * of_all["nommer_tiny"]["imagenet1k"]
    print(
        f"{rate:,.0f} GMACs of forward passes per second while training; GMACs of an image, GPU "
        "hours\n"
    )
    print(f"| recipe | images | {' | '.join(SIZES)} |\n|---|---|---|---|---|")
    for recipe, images in IMAGES.items():
        cells = [
            f"{macs[recipe]:,.1f}, {images * macs[recipe] / rate / 3600:,.0f} h"
            for macs in of_all.values()
        ]
        print(f"| `{recipe}` | {images / 1e6:.2f} M | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
