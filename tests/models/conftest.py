"""Fixtures of the tests of heads."""

import pytest
import torch

from nommer import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.data.box_transforms import BoxPreprocessing
from nommer.models.detection import Detector
from nommer.models.networks import build_timm
from nommer.models.rcnn import RCNN


@pytest.fixture(scope="session")
def tiny_rcnn():
    """A fresh network with two classes on a micro NomMer, or a network of timm, with lively
    outputs.
    """

    def build(backbone="nommer_micro", *, seed=0, **options):
        torch.manual_seed(seed)
        built = (
            NomMer(VARIANTS[backbone])
            if backbone in VARIANTS
            else build_timm(backbone, num_classes=10)
        )
        network = RCNN(built, **{"num_classes": 2, "fpn_channels": 8, "box_channels": 16} | options)
        for stage in network.roi_heads.stages:
            torch.nn.init.normal_(stage.predictor.cls_score.weight)
        return network

    return build


@pytest.fixture(scope="session")
def tiny_detector(tiny_rcnn):
    """A fresh detector of two classes, in evaluation mode.

    Options go to the network, `preprocessing` apart.
    """

    def build(names=("cell", "ring"), *, preprocessing=None, **options):
        sizes = {"short_side": 48, "long_side": 96} | (preprocessing or {})
        network = tiny_rcnn(num_classes=len(names), **options)
        ids = [3 + 4 * index for index in range(len(names))]
        return Detector(
            network, class_names=names, category_ids=ids, preprocessing=BoxPreprocessing(**sizes)
        ).eval()

    return build


@pytest.fixture(scope="session")
def make_target():
    """The objects of an image of this size (height, width), as torchvision takes them.

    Boxes as given, masks full.
    """

    def make(boxes, labels, size):
        boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
        for mask, (left, upper, right, lower) in zip(masks, boxes.int().tolist(), strict=True):
            mask[upper:lower, left:right] = 1
        return {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64), "masks": masks}

    return make
