"""R-CNN: what torchvision's computes where the protocol is torchvision's.

Any backbone, any size, also no objects.
"""

import pytest
import torch
from timm.models import group_parameters
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import paste_masks_in_image

from nommer import InputError
from nommer.settings.rcnn import RCNNProtocol

BACKBONES = ("nommer_micro", "test_resnet", "test_convnext")
SIZES = ((64, 64), (97, 131), (33, 300), (300, 33), (32, 32), (31, 7), (1, 1))
TORCHVISION = RCNNProtocol(proposals_train=2000, box_beta=1 / 9, sampling_ratio=2, aligned=False)
BOXES, LABELS = [[8, 10, 40, 30], [20, 25, 60, 62], [2, 40, 18, 60]], [1, 2, 1]


class _Maps(nn.Module):
    """A backbone as torchvision's detectors take it."""

    def __init__(self, network):
        super().__init__()
        self.network, self.out_channels = network, network.fpn_channels

    def forward(self, images):
        return self.network.feature_maps(images)


def torchvisions(network):
    """torchvision's own Mask R-CNN with the same modules, without resizing and normalising."""
    anchors = AnchorGenerator(
        tuple((8 * stride,) for stride in network.strides), ((0.5, 1.0, 2.0),) * 5
    )
    sizes = {"min_size": 64, "max_size": 9999, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    options = {
        "rpn_anchor_generator": anchors,
        "size_divisible": network.strides[-1],
        "_skip_resize": True,
    }
    model = MaskRCNN(_Maps(network), network.num_classes + 1, **options, **sizes)
    (stage,) = network.roi_heads.stages
    model.rpn.head = network.proposals.head
    model.roi_heads.box_head, model.roi_heads.box_predictor = stage.head, stage.predictor
    model.roi_heads.mask_head = network.roi_heads.mask_head.head
    model.roi_heads.mask_predictor = network.roi_heads.mask_head.predictor
    return model


def gradients(network, losses):
    network.zero_grad()
    sum(losses.values()).backward()
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


def test_with_torchvisions_numbers_it_trains_as_torchvisions_own(tiny_rcnn, make_target):
    network = tiny_rcnn(masks=True, protocol=TORCHVISION).train()
    images = list(torch.randn(2, 3, 64, 128))
    targets = [make_target(BOXES, LABELS, (64, 128)), make_target(BOXES[:1], [2], (64, 128))]
    found = []
    for model in (network, torchvisions(network).train()):
        torch.manual_seed(3)
        losses = model(images, targets)
        found.append((losses, gradients(network, losses)))
    (losses, grads), (expected, expected_grads) = found
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-5), name
    for name, grad in grads.items():
        assert torch.allclose(grad, expected_grads[name], rtol=1e-3, atol=1e-5), name


def test_with_torchvisions_numbers_it_answers_as_torchvisions_own(tiny_rcnn):
    network = tiny_rcnn(masks=True, protocol=TORCHVISION).eval()
    images = list(torch.randn(2, 3, 64, 128))
    with torch.no_grad():
        found, expected = network(images), torchvisions(network).eval()(images)
    for answer, other in zip(found, expected, strict=True):
        assert len(answer["boxes"]) > 10
        for name in ("boxes", "scores", "labels"):
            assert torch.allclose(answer[name], other[name], atol=1e-4), name
        pasted = paste_masks_in_image(answer["masks"][:, None], answer["boxes"], (64, 128))
        assert torch.allclose(pasted, other["masks"], atol=1e-4)


@pytest.mark.parametrize(("cascade", "masks"), [(False, False), (True, True)])
def test_the_loss_falls_on_one_image(tiny_rcnn, make_target, cascade, masks):
    network = tiny_rcnn(cascade=cascade, masks=masks, fpn_channels=16, box_channels=32).train()
    target = make_target(BOXES, LABELS, (64, 64))
    image = torch.zeros(3, 64, 64)
    for channel, mask in enumerate(target["masks"]):
        image[channel, mask.bool()] = 2.0
    optimizer, totals = torch.optim.AdamW(network.parameters(), 3e-3), []
    for _ in range(25):
        losses = network([image], [target])
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    names = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"} | (
        {"loss_mask"} & {*losses}
    )
    assert losses.keys() == names
    assert ("loss_mask" in losses) == masks
    assert sum(totals[-5:]) < 0.6 * sum(totals[:5])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_objects_lie_inside_images_of_any_size(tiny_rcnn, backbone, size):
    network = tiny_rcnn(backbone, masks=True).eval()
    with torch.no_grad():
        (found,) = network([torch.randn(3, *size)])
    assert found["boxes"].shape == (len(found["scores"]), 4)
    assert found["masks"].shape == (len(found["scores"]), 28, 28)
    assert (found["boxes"] >= 0).all()
    assert (found["boxes"] <= torch.tensor([size[1], size[0]] * 2)).all()
    assert (found["boxes"][:, 2:] > found["boxes"][:, :2]).all()
    assert found["labels"].unique().tolist() in ([], [1], [2], [1, 2])
    assert (found["scores"].diff() <= 0).all()
    assert len(found["scores"]) <= 100
    assert (found["scores"] > 0.05).all()


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_parameter_gets_a_gradient(tiny_rcnn, make_target, backbone, cascade):
    network = tiny_rcnn(backbone, cascade=cascade, masks=True).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(
                module.weight, 0.5, 1.5
            )  # a residual branch may begin at 0, and pass no gradient on
    sizes = ((97, 131), (64, 50))
    targets = [make_target(BOXES, LABELS, sizes[0]), make_target(BOXES[2:], [2], sizes[1])]
    grads = gradients(network, network([torch.randn(3, *size) for size in sizes], targets))
    assert [name for name, grad in grads.items() if not grad.any()] == []


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_images_without_objects_train_the_background(tiny_rcnn, make_target, cascade, batch):
    network = tiny_rcnn(cascade=cascade, masks=True).train()
    losses = network(list(torch.randn(batch, 3, 64, 64)), [make_target([], [], (64, 64))] * batch)
    assert losses["loss_objectness"] > 0
    assert losses["loss_classifier"] > 0
    assert [losses[name].item() for name in ("loss_rpn_box_reg", "loss_box_reg", "loss_mask")] == [
        0,
        0,
        0,
    ]
    assert all(grad.isfinite().all() for grad in gradients(network, losses).values()), (
        "none is None either"
    )


def test_targets_stay_as_they_are(tiny_rcnn, make_target):
    target = make_target(BOXES, LABELS, (64, 64))
    before = {name: value.clone() for name, value in target.items()}
    tiny_rcnn(masks=True, cascade=True).train()([torch.randn(3, 64, 64)], [target])
    assert all(torch.equal(value, before[name]) for name, value in target.items())


def test_fewer_or_surer_answers_are_some_of_all_answers(tiny_rcnn):
    network, image = tiny_rcnn(masks=True).eval(), torch.randn(3, 64, 80)
    with torch.no_grad():
        (every,) = network.detect([image], threshold=0.0, most=10**6)
        (few,) = network.detect([image], threshold=0.0, most=7)
        threshold = every["scores"][20].item()
        (sure,) = network.detect([image], threshold=threshold, most=10**6)
    count = int((every["scores"] > threshold).sum())
    assert len(few["scores"]) == 7
    assert len(sure["scores"]) == count > 0
    for name, values in every.items():
        assert torch.allclose(few[name], values[:7], atol=1e-6)
        assert torch.allclose(sure[name], values[:count], atol=1e-6)


def test_anchors_are_eight_cells_wide_and_stay_where_they_are_however_far_an_image_is_padded(
    tiny_rcnn,
):
    network = tiny_rcnn().eval()
    boxes = []
    for side in (network.strides[3], 3 * network.strides[3]):
        padded = network.pad([torch.zeros(3, side, side)])
        maps = list(network.feature_maps(padded.tensors).values())
        assert [map_.shape[-1] for map_ in maps] == [
            -(-side // stride) for stride in network.strides
        ]
        (anchors,) = network.proposals.anchor_generator(padded, maps)
        boxes.append(anchors.split([3 * map_.shape[-2] * map_.shape[-1] for map_ in maps]))
    for few, many, stride in zip(*boxes, network.strides, strict=True):
        assert {tuple(box) for box in few.tolist()} <= {tuple(box) for box in many.tolist()}
        assert (few[1, 2:] - few[1, :2]).tolist() == [8 * stride] * 2, (
            "the square one of the first cell"
        )
        assert (few[1, 2:] + few[1, :2]).tolist() == [0, 0]
        if len(many) > 3:
            assert many[4, 0] - many[1, 0] == stride


def test_scores_that_are_no_numbers_are_an_error(tiny_rcnn):
    for spoil in (
        lambda network: network.norms[1].weight,
        lambda network: network.roi_heads.stages[0].head.fc6.bias,
    ):
        network = tiny_rcnn().eval()
        spoil(network).data[0] = torch.nan
        with torch.no_grad(), pytest.raises(FloatingPointError, match="are NaN or infinite"):
            network([torch.randn(3, 32, 32)])


def test_targets_that_do_not_fit_are_refused(tiny_rcnn, make_target):
    network, image, target = (
        tiny_rcnn(masks=True).train(),
        torch.randn(3, 64, 64),
        make_target(BOXES, LABELS, (64, 64)),
    )
    for targets in (None, [], [target, target]):
        with pytest.raises(InputError, match="training needs the objects of every image"):
            network([image], targets)
    del target["masks"]
    with pytest.raises(
        InputError, match="the network learns masks, but objects without masks were given"
    ):
        network([image], [target])


def test_the_published_sizes_by_default(tiny_rcnn):
    network = tiny_rcnn(num_classes=80, masks=True, fpn_channels=256, box_channels=1024)
    (stage,) = network.roi_heads.stages
    assert stage.head.fc6.weight.shape == (1024, 256 * 49)
    assert stage.predictor.bbox_pred.weight.shape == (81 * 4, 1024)
    assert network.proposals.head.cls_logits.weight.shape == (3, 256, 1, 1)
    assert network.roi_heads.mask_head.predictor[2].weight.shape == (81, 256, 1, 1)
    cascade = tiny_rcnn(cascade=True)
    assert [stage.predictor.bbox_pred.weight.shape[0] for stage in cascade.roi_heads.stages] == [
        4,
        4,
        4,
    ]


def test_the_optimiser_sees_the_backbones_layers_and_exceptions(tiny_rcnn):
    network = tiny_rcnn()
    layers = group_parameters(network, network.group_matcher(), reverse=True)
    inside = group_parameters(network.backbone, network.backbone.group_matcher(), reverse=True)
    last = max(layers.values())
    for name, layer in layers.items():
        assert layer == (
            inside[name.removeprefix("backbone.")] if name.startswith("backbone.") else last
        ), name
    assert network.no_weight_decay() == {
        f"backbone.{name}" for name in network.backbone.no_weight_decay()
    }


def test_gradient_checkpointing_gives_the_same_gradients(tiny_rcnn, make_target):
    found = []
    for enable in (False, True):
        network = tiny_rcnn().train()
        network.set_grad_checkpointing(enable)
        torch.manual_seed(1)
        found.append(
            gradients(
                network, network([torch.ones(3, 64, 64)], [make_target(BOXES, LABELS, (64, 64))])
            )
        )
    assert all(torch.allclose(grad, found[1][name], atol=1e-6) for name, grad in found[0].items())


@pytest.mark.parametrize("cascade", [False, True])
def test_a_state_dict_makes_a_round_trip(tiny_rcnn, cascade):
    first, second = (tiny_rcnn(masks=True, cascade=cascade, seed=seed).eval() for seed in (0, 1))
    second.load_state_dict(first.state_dict())
    image = torch.randn(3, 40, 70)
    with torch.no_grad():
        (one,), (other,) = first([image]), second([image])
    assert all(torch.equal(values, other[name]) for name, values in one.items())


@pytest.mark.parametrize("name", ["num_classes", "fpn_channels", "box_channels"])
def test_numbers_out_of_range_are_refused(tiny_rcnn, name):
    with pytest.raises(InputError, match=f"{name} must be 1 or more, got 0"):
        tiny_rcnn(**{name: 0})


def test_under_autocast_boxes_keep_their_digits(tiny_rcnn, make_target):
    network = tiny_rcnn(masks=True)
    image, target = torch.randn(3, 64, 64), make_target(BOXES, LABELS, (64, 64))
    with torch.autocast("cpu", torch.bfloat16):
        losses = network.train()([image], [target])
        with torch.no_grad():
            (found,) = network.eval()([image])
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert {found[name].dtype for name in ("boxes", "scores", "masks")} == {torch.float32}
    assert not torch.equal(found["boxes"], found["boxes"].bfloat16().float())
