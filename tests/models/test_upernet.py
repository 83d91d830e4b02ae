"""UPerNet: any backbone of timm's contract, any size, one image per batch; all parameters learn."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from timm.models import group_parameters
from timm.optim import create_optimizer_v2
from torch import nn

from nommer import InputError, NomMer
from nommer.backbone.variants import VARIANTS
from nommer.models.networks import build_timm
from nommer.models.upernet import TolerantBatchNorm, UPerNet, enlarge

BACKBONES = ("nommer_micro", "test_resnet", "test_convnext")
SIZES = ((64, 64), (97, 131), (33, 500), (500, 33), (32, 32), (31, 7), (1, 1))


def build(name="nommer_micro", **options):
    torch.manual_seed(0)
    backbone = NomMer(VARIANTS[name]) if name in VARIANTS else build_timm(name, num_classes=10)
    network = UPerNet(
        backbone, num_classes=3, **({"decoder_channels": 8, "auxiliary_channels": 4} | options)
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(
                module.weight, 0.5, 1.5
            )  # a residual branch may begin at 0, and pass no gradient on
    return network


@pytest.fixture(scope="module", params=BACKBONES)
def network(request):
    return build(request.param)


@pytest.mark.parametrize("size", SIZES)
def test_scores_of_every_pixel_at_any_size(network, size):
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        scores = network.eval()(images)
        cells = network.scores(images)
    assert scores.shape == (2, 3, *size)
    assert cells.shape == (2, 3, *(-(-side // network.stride) for side in size))
    assert scores.isfinite().all()


@pytest.mark.parametrize("size", [(64, 64), (97, 131), (33, 500), (32, 64)])
@pytest.mark.parametrize("batch", [1, 2])
def test_every_parameter_gets_a_gradient(network, size, batch):
    network.train().zero_grad()
    scores, auxiliary = network.forward_with_auxiliary(torch.randn(batch, 3, *size))
    assert scores.shape == auxiliary.shape == (batch, 3, *size)
    (scores.square().mean() + auxiliary.square().mean()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []
    if size == (97, 131):
        assert [
            name for name, parameter in network.named_parameters() if not parameter.grad.any()
        ] == []


def test_one_image_per_batch_leaves_the_pooled_norms_statistics_alone():
    network = build().train()
    norm = network.decoder.psp.blocks[0][1][1]
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    network(torch.randn(1, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    network(torch.randn(2, 3, 64, 64))
    assert not torch.equal(norm.running_mean, before["running_mean"])


def test_the_tolerant_norm_is_a_batch_norm_elsewhere():
    tolerant, plain, maps = (
        TolerantBatchNorm(5).train(),
        nn.BatchNorm2d(5).train(),
        torch.randn(2, 5, 3, 4),
    )
    assert torch.equal(tolerant(maps), plain(maps))
    assert torch.equal(tolerant.running_var, plain.running_var)
    assert torch.equal(tolerant(maps[:1, :, :1, :1]), plain.eval()(maps[:1, :, :1, :1]))


def test_training_and_evaluation_see_the_same_scores():
    network = build().eval()
    images = torch.randn(1, 3, 50, 70)
    with torch.no_grad():
        assert torch.equal(network.forward_with_auxiliary(images)[0], network(images))


def test_an_image_is_seen_as_if_zeros_filled_it_up_to_whole_cells_of_the_coarsest_map(network):
    images = torch.randn(1, 3, 97, 131)
    with torch.no_grad():
        padded = network.eval().scores(F.pad(images, (0, 160 - 131, 0, 128 - 97)))
        cells = network.scores(images)
    assert torch.equal(cells, padded[..., : cells.shape[-2], : cells.shape[-1]])


@pytest.mark.parametrize("stride", [2, 4, 16])
def test_enlarging_is_bilinear_over_the_padded_image_and_cuts_the_rest_off(stride):
    cells = torch.randn(2, 3, 5, 7)
    images = torch.empty(2, 3, 5 * stride - 1, 7 * stride)
    expected = F.interpolate(
        cells, size=(5 * stride, 7 * stride), mode="bilinear", align_corners=False
    )
    assert torch.allclose(enlarge(cells, images, stride), expected[:, :, :-1], atol=1e-6)


def test_without_an_auxiliary_head():
    network = build(auxiliary_channels=0)
    scores, auxiliary = network.forward_with_auxiliary(torch.randn(2, 3, 32, 32))
    assert scores.shape == (2, 3, 32, 32)
    assert auxiliary is None
    assert not any("auxiliary" in name for name in network.state_dict())


def test_the_published_sizes_by_default():
    network = UPerNet(NomMer(VARIANTS["nommer_micro"]), num_classes=150)
    assert network.decoder.fusion_block[0].weight.shape == (512, 2048, 3, 3)
    assert network.classifier[1].weight.shape == (150, 512, 1, 1)
    assert network.auxiliary[0].weight.shape == (256, 64, 3, 3)
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout2d)] == [
        0.1,
        0.1,
    ]
    assert network.backbone.config.num_classes == 0
    assert isinstance(network.backbone.norm, nn.Identity)


def test_the_optimiser_sees_the_backbones_layers_and_exceptions(network):
    layers = group_parameters(network, network.group_matcher(), reverse=True)
    inside = group_parameters(network.backbone, network.backbone.group_matcher(), reverse=True)
    last = max(layers.values())
    assert last > 3
    for name, layer in layers.items():
        assert layer == (
            inside[name.removeprefix("backbone.")] if name.startswith("backbone.") else last
        ), name
    exempt = {
        id(parameter)
        for name, parameter in network.named_parameters()
        if name in network.no_weight_decay()
    }
    assert len(exempt) == len(getattr(network.backbone, "no_weight_decay", set)())
    optimizer = create_optimizer_v2(network, "adamw", lr=1e-3, weight_decay=0.1, layer_decay=0.5)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert bool(group["weight_decay"]) == (
                parameter.ndim > 1 and id(parameter) not in exempt
            )


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for enable in (False, True):
        network = build(dropout=0.0).train()
        network.set_grad_checkpointing(enable)
        torch.manual_seed(1)
        network(torch.randn(2, 3, 64, 64)).square().mean().backward()
        gradients.append(
            [parameter.grad for name, parameter in network.backbone.named_parameters()]
        )
    assert all(torch.allclose(one, other, atol=1e-7) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_state_dict_makes_a_round_trip(name):
    first, second, images = build(name).eval(), build(name).eval(), torch.randn(1, 3, 40, 70)
    for parameter in second.parameters():
        nn.init.normal_(parameter)
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert torch.equal(first(images), second(images))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("test_maxvit", "MaxxVit takes images of one size only"),
        (
            "convmixer_768_32",
            r"ConvMixer gives no four feature maps .* \(found strides 7, 7, 7, 7\); choose",
        ),
        ("shvit_s1", r"SHViT gives no four feature maps .* \(found strides 16, 32, 64\); choose"),
    ],
)
def test_networks_without_a_pyramid_are_refused(name, found):
    with torch.device("meta"):
        backbone = build_timm(name, num_classes=0)
    with pytest.raises(InputError, match=found):
        UPerNet(backbone, num_classes=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be 1 or more, got 0"),
        ({"decoder_channels": 0}, "decoder_channels must be 1 or more, got 0"),
        ({"auxiliary_channels": -1}, "auxiliary_channels must be 0 or more, got -1"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        UPerNet(NomMer(VARIANTS["nommer_micro"]), **({"num_classes": 3} | options))


def test_the_decoders_library_is_imported_only_where_it_is_used():
    listed = "[n for n in sys.modules if n.startswith('segmentation_')]"
    code = f"import sys, nommer, nommer.models.storage; print({listed})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ran.stdout == "[]\n"
