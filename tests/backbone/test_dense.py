"""The network as the backbone of other people's dense models.

A step of training and a prediction each.
"""

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

NAMES = ["nommer_micro", "nommer_tiny"]


def step(parameters, loss):
    """One optimiser step; the names of the parameters that it could not move."""
    before = {name: parameter.detach().clone() for name, parameter in parameters}
    loss.backward()
    torch.optim.SGD([p for _, p in parameters], lr=0.1).step()
    return [name for name, parameter in parameters if torch.equal(before[name], parameter)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "decoder", [smp.Unet, smp.FPN, smp.UPerNet], ids=lambda decoder: decoder.__name__
)
def test_segmentation_models_pytorch_trains_a_step(draw, name, decoder):
    model = decoder(f"tu-{name}", encoder_weights=None, classes=4).train()
    size = (96, 160)
    masks = torch.randint(4, (2, *size))
    scores = model(draw(2, 3, *size))
    assert scores.shape == (2, 4, *size)
    loss = nn.functional.cross_entropy(scores, masks)
    assert loss.isfinite()
    encoder = [(name, p) for name, p in model.encoder.named_parameters()]
    assert step(encoder, loss) == []
    with torch.no_grad():
        assert model.eval()(draw(1, 3, 32, 64)).shape == (1, 4, 32, 64)


class Pyramid(nn.Module):
    """Feature maps of a timm model through a feature pyramid, for torchvision's detectors."""

    out_channels = 32

    def __init__(self, name):
        super().__init__()
        self.body = timm.create_model(name, features_only=True)
        self.pyramid = FeaturePyramidNetwork(
            self.body.feature_info.channels(), self.out_channels, extra_blocks=LastLevelMaxPool()
        )

    def forward(self, images):
        return self.pyramid({str(i): feature for i, feature in enumerate(self.body(images))})


@pytest.fixture
def detector():
    def detector(name):
        sizes = tuple((size,) for size in (16, 32, 64, 96, 128))
        names = ["0", "1", "2", "3"]
        return MaskRCNN(
            Pyramid(name),
            num_classes=3,
            min_size=96,
            max_size=160,
            rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5),
            box_roi_pool=MultiScaleRoIAlign(names, output_size=7, sampling_ratio=2),
            mask_roi_pool=MultiScaleRoIAlign(names, output_size=14, sampling_ratio=2),
            rpn_post_nms_top_n_train=64,
            rpn_post_nms_top_n_test=64,
            box_score_thresh=0.0,
        )

    return detector


def target(size, boxes):
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 1
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32),
        "labels": torch.arange(len(boxes)) % 2 + 1,
        "masks": masks,
    }


@pytest.mark.parametrize("name", NAMES)
def test_torchvision_mask_rcnn_trains_a_step_and_predicts(draw, detector, name):
    model = detector(name).train()
    images = [draw(3, 97, 131).sigmoid(), draw(3, 120, 90).sigmoid()]
    targets = [
        target((97, 131), [(10, 10, 60, 70), (50, 20, 120, 90)]),
        target((120, 90), [(5, 5, 80, 110)]),
    ]
    losses = model(images, targets)
    assert set(losses) == {
        "loss_classifier",
        "loss_box_reg",
        "loss_mask",
        "loss_objectness",
        "loss_rpn_box_reg",
    }
    assert all(loss.isfinite() for loss in losses.values())
    assert step(list(model.backbone.body.named_parameters()), sum(losses.values())) == []
    with torch.no_grad():
        predictions = model.eval()(images)
    for prediction, image in zip(predictions, images, strict=True):
        count = len(prediction["boxes"])
        assert count > 0
        assert prediction["boxes"].isfinite().all()
        assert prediction["masks"].shape == (count, 1, *image.shape[1:])
