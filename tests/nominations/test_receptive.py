"""Composite receptive fields against what really changes a token."""

import pytest
import torch

from nommer import NomMer
from nommer.backbone.config import NomMerConfig
from nommer.nominations.attention_maps import AttentionTrace
from nommer.nominations.intervention import intervene
from nommer.nominations.receptive import gradient_fields, receptive_fields

SIZE = (50, 70)
PLACES = [(0, 0), (49, 69), (20, 33)]
BLOCKS = ["stage 1 block 1", "stage 1 block 2", "stage 2 block 1", "stage 2 block 2"]


@pytest.fixture
def network(enliven_norms):
    torch.manual_seed(0)
    config = NomMerConfig(
        embed_dim=16,
        depths=(2, 2, 1, 1),
        num_heads=(1, 1, 2, 4),
        patch_size=2,
        window_size=4,
        num_classes=0,
    )
    network = enliven_norms(NomMer(config)).double().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.2)
    return network


@pytest.fixture
def images():
    return torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)).double()


def after_block(network, images, name):
    """The token grid as it leaves a block."""
    grid = network.stem(images)
    for stage, module in enumerate(network.stages[:2]):
        grid = module.downsample(grid)
        for index, block in enumerate(module.blocks):
            grid = block(grid)
            if name == f"stage {stage + 1} block {index + 1}":
                return grid
    raise KeyError(name)


def depending(network, images, name, place):
    """The pixels that a token's gradient is not 0 in."""
    pixels = images.clone().requires_grad_()
    grid = after_block(network, pixels, name)
    token = grid[0, place[0] * grid.shape[1] // SIZE[0], place[1] * grid.shape[2] // SIZE[1]]
    weights = torch.randn(token.shape, generator=torch.Generator().manual_seed(1)).double()
    (gradient,) = torch.autograd.grad((token * weights).sum(), pixels)
    return gradient[0].abs().sum(0) > 0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "kinds", [["convolution"] * 4, ["window"] * 4, ["window", "convolution"] * 2, None]
)
def test_fields_are_the_pixels_that_a_token_depends_on(network, images, place, kinds):
    with torch.no_grad():
        for block, kind in zip(
            [block for stage in network.stages[:2] for block in stage.blocks],
            kinds or [],
            strict=False,
        ):
            index = {"convolution": 0, "window": 1}[kind]
            block.mixer.nominator.score.weight.zero_()
            block.mixer.nominator.score.bias.copy_(torch.eye(3)[index] * 9)
    with AttentionTrace(network, PLACES) as trace, torch.no_grad():
        network(images)
    fields = receptive_fields(network, trace.used, place, SIZE)
    assert list(fields) == BLOCKS
    for name, field in fields.items():
        found = depending(network, images, name, place)
        assert not (found & ~field).any(), "nothing outside has any influence"
        assert found.sum() >= 0.97 * field.sum(), (
            "nearly all inside has: pooling and ReLU shut off some"
        )
    areas = [int(field.sum()) for field in fields.values()]
    assert areas == sorted(areas), "it only grows"


def test_one_global_nomination_reaches_everything(network, images):
    with (
        intervene(network, "global", blocks=["stage 2 block 1"]),
        AttentionTrace(network, PLACES) as trace,
    ):
        network(images)
    fields = receptive_fields(network, trace.used, PLACES[2], SIZE)
    assert fields["stage 2 block 1"].all()
    assert fields["stage 2 block 2"].all()


def test_fields_counted_by_hand(network, images):
    used = {
        name: {"convolution": torch.ones(network.config.grid_size(*SIZE, int(name[6]) - 1))}
        for name in BLOCKS
    }
    fields = receptive_fields(network, used, (24, 40), SIZE)
    expected = [
        ((22, 28), (38, 44)),  # token (12, 20) and one around it, 2 pixels each
        ((20, 30), (36, 46)),
        # token (6, 10): one around; as tokens of stage 1 rows 10 to 15; one around by the
        # downsampling; two by stage 1
        ((14, 38), (30, 54)),
        ((10, 42), (26, 58)),
    ]
    for field, ((top, bottom), (left, right)) in zip(fields.values(), expected, strict=True):
        rectangle = torch.zeros(SIZE, dtype=torch.bool)
        rectangle[top:bottom, left:right] = True
        assert torch.equal(field, rectangle)


def test_perturbing_pixels_outside_changes_nothing(network, images):
    place, block = PLACES[2], "stage 2 block 2"

    def token(images):
        return after_block(network, images, block)[0, place[0] // 4, place[1] // 4]

    with intervene(network, "window"), torch.no_grad():
        with AttentionTrace(network, [place]) as trace:
            network(images)
        field = receptive_fields(network, trace.used, place, SIZE)[block]
        assert 0 < field.sum() < field.numel()
        assert torch.equal(token(torch.where(field, images, images + 5)), token(images))
        assert not torch.allclose(token(torch.where(field, images + 5, images)), token(images))


def test_gradients_lie_inside_the_field(network, images):
    with intervene(network, "convolution"):
        with AttentionTrace(network, PLACES) as trace, torch.inference_mode():
            network(images)
        gradients = gradient_fields(network, images, PLACES)
    assert gradients.shape == (3, *SIZE)
    for gradient, place in zip(gradients, PLACES, strict=True):
        assert gradient.sum() == pytest.approx(1)
        field = receptive_fields(network, trace.used, place, SIZE)["stage 2 block 2"]
        assert not (gradient[~field] > 0).any()
    assert all(parameter.grad is None for parameter in network.parameters())
