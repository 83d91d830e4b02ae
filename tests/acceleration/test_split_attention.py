"""Attention as exported files have it gives the numbers of the fused network."""

import pytest
import torch
from torch import nn

from nommer.acceleration.fuse import FusedWindowContext, fuse
from nommer.acceleration.split_attention import SplitWindowContext, split_attention
from nommer.backbone.attention import GlobalAttention
from nommer.backbone.contexts import WindowContext


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 7, 10), (3, 3, 5)])
@torch.no_grad()
def test_windows_are_the_same_on_grids_that_they_fill_or_not(shape):
    torch.manual_seed(0)
    context = WindowContext(12, heads=3, window_size=4)
    nn.init.normal_(context.relative_position_bias_table)
    grid = torch.randn(*shape, 12)
    fused = FusedWindowContext(context)
    torch.testing.assert_close(SplitWindowContext(fused)(grid), context(grid))


@torch.no_grad()
def test_a_network_is_the_same_without_one_product_for_three(tiny_classifier, enliven_norms):
    model, images = enliven_norms(tiny_classifier()), torch.rand(2, 3, 32, 40)
    fused = fuse(model)
    expected = fused(images)
    split = split_attention(fused)
    assert split is fused
    assert not any("qkv" in name for name, _ in split.named_modules() if "stages.2" in name)
    kinds = {type(module) for module in split.modules()}
    assert not kinds & {FusedWindowContext, GlobalAttention}
    torch.testing.assert_close(split(images), expected)
