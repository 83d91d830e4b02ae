"""The fused network against the plain one, its slow and literal twin."""

import copy

import pytest
import timm
import torch
from torch import nn

import nommer
from nommer.acceleration.fuse import FusedSpectralContext, fuse
from nommer.backbone.nominator import Nomination


@pytest.fixture
def network():
    """A NomMer whose batch norms have statistics as after training, so that folding them changes
    weights.

    Every test has its own: some turn it into float64.
    """
    torch.manual_seed(0)
    return with_statistics(timm.create_model("nommer_micro", num_classes=10).eval())


def with_statistics(model):
    """The model with batch norms as after training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_()
    return model


@pytest.mark.parametrize("size", [(224, 224), (97, 131), (32, 32), (33, 250)])
def test_fused_gives_the_same_scores_in_float64(network, size):
    torch.manual_seed(1)
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = network.double()(images)
        assert (fuse(network)(images) - expected).abs().max() < 1e-10 * expected.abs().max()


def test_an_overlapping_stem_is_fused_too():
    torch.manual_seed(3)
    model = with_statistics(
        timm.create_model("nommer_micro", num_classes=10, stem="overlapping").eval().double()
    )
    images = torch.randn(2, 3, 97, 131, dtype=torch.float64)
    with torch.no_grad():
        expected = model(images)
        assert (fuse(model)(images) - expected).abs().max() < 1e-10 * expected.abs().max()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fuse(model).modules())


def test_fused_gives_the_same_scores_and_nominations_in_float32(network):
    torch.manual_seed(2)
    images, network = torch.randn(4, 3, 64, 96), network.float()
    fused = fuse(network)
    with (
        torch.no_grad(),
        nommer.NominationTrace(network) as plain,
        nommer.NominationTrace(fused) as traced,
    ):
        difference = (network(images) - fused(images)).abs().max()
    assert difference < 1e-4
    assert plain.blocks == traced.blocks
    assert (plain.counts() - traced.counts()).abs().max() <= 1


def test_nothing_is_left_to_compute_twice(network):
    fused = fuse(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert sum(isinstance(module, FusedSpectralContext) for module in fused.modules()) == 2
    assert sum(isinstance(module, Nomination) for module in fused.modules()) == 2


def test_the_model_itself_stays_as_it_was(network):
    network = copy.deepcopy(network).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fused = fuse(network)
    assert network.training
    assert not fused.training
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    assert not any(parameter.requires_grad for parameter in fused.parameters())


def test_a_model_may_be_fused_itself(network):
    network, images = copy.deepcopy(network).float(), torch.randn(2, 3, 64, 64)
    expected = fuse(network)(images)
    fused = fuse(network, inplace=True)
    assert fused is network
    assert torch.equal(fused(images), expected)


def test_a_hook_on_the_nomination_forces_a_context_in_the_fused_network_too(network):
    fused = fuse(network)
    forced = torch.tensor([0.0, 0.0, 1.0])
    for model in (network, fused):
        handles = [
            module.register_forward_hook(lambda _m, _i, out: forced.to(out).expand_as(out))
            for module in model.modules()
            if isinstance(module, Nomination)
        ]
        with torch.no_grad(), nommer.NominationTrace(model) as trace:
            model(torch.randn(1, 3, 32, 32))
        assert {tuple(share.values()) for share in trace.shares().values()} == {(0.0, 0.0, 1.0)}
        for handle in handles:
            handle.remove()


def test_features_and_classifiers_are_fused_alike(network):
    features = timm.create_model("nommer_micro", features_only=True).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for plain, quick in zip(features(images), fuse(features)(images), strict=True):
            assert (plain - quick).abs().max() < 1e-4


def test_fused_network_exports_and_matches(network):
    fused, images = fuse(network), torch.randn(2, 3, 64, 64)
    exported = torch.export.export(fused, (images,)).module()
    with torch.no_grad():
        assert (exported(images) - fused(images)).abs().max() < 1e-5


@pytest.mark.parametrize("backbone", [None, "test_resnet", "test_efficientnet"])
def test_a_segmenter_is_fused_with_its_decoder(tiny_segmenter, enliven_norms, backbone):
    peer = backbone and enliven_norms(timm.create_model(backbone))
    model, images = (
        tiny_segmenter(image_size=64, backbone=peer).double(),
        torch.randn(2, 3, 97, 131).double(),
    )
    fused = fuse(model)
    with torch.no_grad():
        expected = model(images)
        assert (fused(images) - expected).abs().max() < 1e-10 * expected.abs().max()
        assert (
            fused.network.scores(images) - model.network.scores(images)
        ).abs().max() < 1e-10 * expected.abs().max()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.network.decoder.modules())
    if peer is None:
        assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_image_that_is_not_finite_is_not_answered_as_if_it_were(tiny_classifier, value):
    model = tiny_classifier()
    images = torch.rand(2, 3, 32, 32)
    images[0, 1, 7, 9] = value
    with torch.no_grad():
        for one in (model, fuse(model)):
            assert one(images)[0].isnan().all()
            assert one(images)[1].isfinite().all()
