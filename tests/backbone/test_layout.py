"""Memory and shapes: grids stay channels-last without copies, and the shapes in the signatures are
really checked.
"""

import jaxtyping
import pytest
import torch
from torch import nn

from nommer.backbone import layout
from nommer.backbone.block import Block
from nommer.backbone.building import build_mixer
from nommer.backbone.contexts import ConvolutionContext
from nommer.backbone.variants import VARIANTS


@torch.no_grad()
@pytest.mark.parametrize("size", [(224, 224), (97, 131)], ids=str)
def test_grids_are_contiguous_channels_last_from_block_to_block(create, draw, size):
    model, seen = create("nommer_nano"), []
    for name, module in model.named_modules():
        if isinstance(module, Block) or (
            name.endswith(("stem", "downsample")) and not isinstance(module, nn.Identity)
        ):
            module.register_forward_hook(
                lambda _m, _i, output, name=name: seen.append((name, output))
            )
    model(draw(2, 3, *size))
    assert len(seen) == 1 + 3 + 7
    assert [name for name, output in seen if not output.is_contiguous()] == []


@torch.no_grad()
@pytest.mark.parametrize("size", [(224, 224), (97, 131)], ids=str)
def test_convolutions_and_batch_norms_work_in_channels_last(create, draw, size):
    model, seen = create("nommer_nano"), []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(
                lambda _m, inputs, output, name=name: seen.append((name, inputs[0], output))
            )
    model(draw(2, 3, *size))
    assert len(seen) == 2 + 2 * (7 + 2) + 3
    last = torch.channels_last
    wrong = [
        name for name, *maps in seen if not all(m.is_contiguous(memory_format=last) for m in maps)
    ]
    assert wrong == []


def test_grid_and_maps_share_memory(draw):
    grid = draw(2, 5, 6, 8)
    maps = layout.as_maps(grid)
    assert maps.shape == (2, 8, 5, 6)
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert maps.data_ptr() == grid.data_ptr() == layout.as_grid(maps).data_ptr()
    assert torch.equal(layout.as_grid(maps), grid)


@pytest.mark.parametrize("mode", ["constant", "replicate"])
def test_padding_keeps_the_memory_format(draw, mode):
    padded = layout.pad_maps(layout.as_maps(draw(2, 9, 13, 8)), 7, mode)
    assert padded.shape == (2, 8, 14, 14)
    assert padded.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_feature_maps_for_heads_are_channels_last(create, draw):
    for feature in create(features_only=True)(draw(2, 3, 97, 131)):
        assert feature.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_the_memory_format_of_the_images_does_not_matter(create, draw):
    model, images = create(), draw(2, 3, 97, 131)
    assert torch.equal(model(images), model(images.contiguous(memory_format=torch.channels_last)))


def is_checked():
    return hasattr(ConvolutionContext.forward, "__wrapped__")


@pytest.mark.skipif("not is_checked()", reason="run with --jaxtyping-packages")
@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (ConvolutionContext(8, expansion=2), torch.zeros(1, 4, 8)),
        (build_mixer(VARIANTS["nommer_micro"], stage=0), torch.zeros(4, 4, 16)),
        (
            Block(8, nn.Identity(), mlp_ratio=2, drop_path=0.0),
            torch.zeros(1, 4, 8, dtype=torch.int64),
        ),
        (Block(8, nn.Flatten(2), mlp_ratio=2, drop_path=0.0), None),
    ],
    ids=["rank", "batch missing", "integers", "not a tensor"],
)
def test_a_wrong_shape_is_caught_at_the_border_of_the_module(module, inputs):
    with pytest.raises(jaxtyping.TypeCheckError):
        module(inputs)
