"""Images of any size.

What padding must not change, what features come out, position embeddings at other grids.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nommer.backbone import layout, stem
from nommer.backbone.compression import BlockTransform
from nommer.backbone.contexts import SpectralContext, WindowContext, spectral, window
from nommer.backbone.resampling import resample_position

SIZES = [(32, 32), (33, 47), (97, 131), (64, 640), (224, 224), (225, 223)]


def grids(size, strides=(4, 8, 16, 32)):
    return [tuple(math.ceil(side / stride) for side in size) for stride in strides]


@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.no_grad()
def test_every_size_gives_scores_and_four_feature_maps(create, draw, size):
    model = create()
    images = draw(2, 3, *size)
    final, features = model.forward_intermediates(images)
    assert [tuple(f.shape) for f in features] == [
        (2, width, *grid) for width, grid in zip((16, 32, 64, 128), grids(size), strict=True)
    ]
    assert all(f.isfinite().all() for f in features)
    scores = model(images)
    assert scores.shape == (2, 1000)
    assert scores.isfinite().all()
    assert torch.equal(scores, model.forward_head(final))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(height=st.integers(1, 99), width=st.integers(1, 99), patch_size=st.sampled_from([1, 2, 4]),
       stem=st.sampled_from(["patch", "overlapping"]))  # fmt: skip
@torch.no_grad()
def test_grids_are_rounded_up(create, draw, height, width, patch_size, stem):
    sizes = {"img_size": 64, "window_size": 4, "block_sizes": (4, 3)}
    model = create(patch_size=patch_size, stem=stem, num_classes=3, **sizes)
    final, features = model.forward_intermediates(draw(1, 3, height, width))
    strides = [patch_size * 2**stage for stage in range(4)]
    assert [tuple(f.shape[2:]) for f in features] == grids((height, width), strides)
    assert final.shape == (1, 1 + features[-1][0, 0].numel(), 128)
    assert all(f.isfinite().all() for f in (final, *features))


@pytest.mark.parametrize("size", [(97, 131), (225, 223)], ids=str)
def test_training_at_odd_sizes_gives_finite_gradients(create, draw, size):
    model = create(num_classes=5).train()
    model(draw(2, 3, *size)).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_an_image_without_pixels_is_refused(create):
    with pytest.raises(ValueError, match=r"at least one pixel a side, got \(1, 3, 0, 32\)"):
        create()(torch.zeros(1, 3, 0, 32))


@pytest.mark.parametrize("name", ["nommer_micro", "nommer_tiny"])
@torch.no_grad()
def test_at_224_the_network_is_bit_for_bit_the_one_without_padding(create, draw, monkeypatch, name):
    model, images = create(name), draw(2, 3, 224, 224)
    scores = model(images)

    def no_padding(*_):
        raise AssertionError("nothing is padded at 224")

    monkeypatch.setattr(stem, "pad_maps", lambda images, _multiple, _mode: images)
    for module in (window, spectral):
        monkeypatch.setattr(module, "pad_grid", lambda grid, _multiple, _mode: grid)
    monkeypatch.setattr(WindowContext, "padding_bias", no_padding)
    monkeypatch.setattr(F, "pad", no_padding)
    assert torch.equal(model(images), scores)


def test_padding_returns_the_maps_themselves_when_nothing_is_missing(draw):
    maps = draw(1, 2, 8, 16)
    assert layout.pad_maps(maps, 8, "constant") is maps
    assert layout.pad_maps(maps, 7, "replicate").shape == (1, 2, 14, 21)
    grid = layout.as_grid(maps)
    assert layout.pad_grid(grid, 8, "constant") is grid
    assert layout.pad_grid(grid, 7, "replicate").shape == (1, 14, 21, 2)


@pytest.mark.parametrize("grid", [(8, 14), (9, 13), (1, 1), (7, 15)], ids=str)
@torch.no_grad()
def test_what_pads_a_window_is_never_attended_to(enliven, draw, monkeypatch, grid):
    context = enliven(WindowContext(8, heads=2, window_size=7))
    x = draw(2, *grid, 8)
    expected = context(x)
    pad_grid = window.pad_grid

    def pad_with_noise(grid, multiple, mode):
        padded = pad_grid(grid, multiple, mode)
        inside = torch.zeros_like(padded, dtype=torch.bool)
        inside[:, : grid.shape[1], : grid.shape[2]] = True
        noise = 1e3 * torch.randn_like(padded)
        return grid if padded is grid else torch.where(inside, padded, noise)

    monkeypatch.setattr(window, "pad_grid", pad_with_noise)
    assert torch.equal(context(x), expected)


@torch.no_grad()
def test_a_window_cut_by_the_border_has_other_attention_than_zeros_would_give(
    enliven, draw, monkeypatch
):
    context = enliven(WindowContext(8, heads=2, window_size=7))
    x = draw(1, 9, 13, 8)
    expected = context(x)
    monkeypatch.setattr(
        WindowContext, "padding_bias", lambda self, padded, _rows, _columns: padded.new_zeros(1)
    )
    unmasked = context(x)
    assert torch.allclose(unmasked[:, :7, :7], expected[:, :7, :7], atol=1e-6)
    assert not torch.allclose(unmasked[:, 7:], expected[:, 7:], atol=1e-2)


@torch.no_grad()
def test_blocks_cut_by_the_border_repeat_the_last_tokens(enliven, draw):
    context = enliven(SpectralContext(16, heads=2, transform=BlockTransform(8))).eval()
    x = draw(2, 9, 13, 16)
    repeated = F.pad(x.permute(0, 3, 1, 2), (0, 3, 0, 7), mode="replicate").permute(0, 2, 3, 1)
    assert torch.equal(context(x), context(repeated)[:, :9, :13])


@torch.no_grad()
def test_patches_cut_by_the_border_see_zeros(create, draw):
    model, images = create(), draw(1, 3, 97, 131)
    filled = torch.zeros(1, 3, 100, 132)
    filled[..., :97, :131] = images
    assert torch.equal(model(images), model(filled))


@torch.no_grad()
def test_an_image_of_a_batch_does_not_depend_on_the_others(create, draw):
    model, images = create(), draw(3, 3, 97, 131)
    torch.testing.assert_close(model(images)[1:2], model(images[1:2]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("patch_size", "size"), [(4, (64, 96)), (2, (32, 50)), (1, (32, 32))])
@torch.no_grad()
def test_stem_stride_sets_the_strides_of_all_features(create, draw, patch_size, size):
    model = create(patch_size=patch_size, features_only=True)
    assert model.feature_info.reduction() == [patch_size * 2**stage for stage in range(4)]
    features = model(draw(1, 3, *size))
    assert [tuple(f.shape[2:]) for f in features] == grids(size, model.feature_info.reduction())


@pytest.mark.parametrize("in_chans", [1, 4])
@torch.no_grad()
def test_other_input_channels(create, draw, in_chans):
    model = create(in_chans=in_chans)
    assert model.stem.conv.weight.shape[1] == in_chans
    assert model(draw(1, in_chans, 32, 32)).isfinite().all()


@pytest.mark.parametrize(("num_classes", "channels"), [(0, 128), (7, 7)])
@pytest.mark.parametrize(
    ("global_pool", "tokens"), [("token", ()), ("avg", ()), ("", (1 + 2 * 3,))]
)
@torch.no_grad()
def test_classes_and_pooling(create, draw, num_classes, channels, global_pool, tokens):
    model, images = create(num_classes=num_classes, global_pool=global_pool), draw(2, 3, 64, 96)
    scores = model(images)
    assert scores.shape == (2, *tokens, channels)
    features = model.forward_features(images)
    pooled = {"token": features[:, 0], "avg": features[:, 1:].mean(1), "": features}[global_pool]
    assert torch.equal(model.forward_head(features, pre_logits=True), pooled)
    assert torch.equal(scores, model.get_classifier()(pooled))


def without_noise(model):
    for module in model.modules():
        if hasattr(module, "noise"):
            module.noise = torch.zeros_like
    return model


def test_drop_path_acts_in_training_only(create, draw):
    images = draw(4, 3, 32, 32)
    dropping, keeping = (without_noise(create(drop_path_rate=rate)) for rate in (0.9, 0.0))
    assert torch.equal(dropping(images), keeping(images))
    assert torch.equal(keeping.train()(images), keeping(images))
    assert not torch.equal(dropping.train()(images), dropping(images))


def test_dropout_before_the_classifier_acts_in_training_only(create, draw):
    images = draw(2, 3, 32, 32)
    model = without_noise(create(drop_rate=0.5, num_classes=0))
    assert (model(images) != 0).all()
    assert 0.3 < (model.train()(images) == 0).float().mean() < 0.7


# ---- position embedding


@pytest.mark.parametrize(
    ("img_size", "patch_size", "grid"),
    [(224, 4, (14, 14)), ((97, 131), 4, (7, 9)), ((32, 64), 1, (8, 16))],
)
def test_position_embedding_has_the_grid_of_the_image_size(create, img_size, patch_size, grid):
    model = create(img_size=img_size, patch_size=patch_size)
    assert model.stages[2].pos_embed.shape == (1, *grid, 64)


def test_position_embedding_at_its_own_grid_is_untouched(draw):
    position = draw(1, 14, 14, 8)
    assert resample_position(position, (14, 14)) is position


@pytest.mark.parametrize("grid", [(7, 9), (20, 28), (1, 1), (14, 15)], ids=str)
def test_position_embedding_is_resampled_bicubically(draw, grid):
    position = draw(1, 14, 14, 8)
    expected = F.interpolate(
        position.permute(0, 3, 1, 2), size=grid, mode="bicubic", antialias=True
    )
    torch.testing.assert_close(resample_position(position, grid), expected.permute(0, 2, 3, 1))
    constant = torch.full((1, 14, 14, 2), 3.0)
    torch.testing.assert_close(resample_position(constant, grid), torch.full((1, *grid, 2), 3.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_position_embedding_is_resampled_in_float32(draw, dtype):
    position = draw(1, 14, 14, 8).to(dtype)
    assert torch.equal(
        resample_position(position, (7, 9)), resample_position(position.float(), (7, 9)).to(dtype)
    )


def test_resampled_position_embedding_learns(create, draw):
    model = create(num_classes=2).train()
    model(draw(2, 3, 97, 131)).square().mean().backward()
    assert (model.stages[2].pos_embed.grad.abs().sum(-1) > 0).all()


@pytest.mark.parametrize("img_size", [(97, 131), 64])
@torch.no_grad()
def test_setting_the_input_size_does_not_change_the_output_at_that_size(create, draw, img_size):
    model = create()
    size = (img_size, img_size) if isinstance(img_size, int) else img_size
    images = draw(1, 3, *size)
    scores = model(images)
    model.set_input_size(img_size=img_size)
    assert model.stages[2].pos_embed.shape[1:3] == grids(size)[2]
    assert model.config.img_size == size
    assert model.stages[2].pos_embed.requires_grad
    assert torch.equal(model(images), scores)


def test_setting_the_input_size_leaves_a_frozen_embedding_frozen(create):
    model = create()
    model.stages[2].pos_embed.requires_grad_(False)
    model.set_input_size((64, 96))
    assert not model.stages[2].pos_embed.requires_grad
