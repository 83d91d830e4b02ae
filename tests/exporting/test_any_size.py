"""Resampling and pooling by matrices: the same numbers as torch's own operations."""

import pytest
import torch
import torch.nn.functional as F

from nommer.backbone.resampling import bicubic_weights, pooling_weights
from nommer.exporting.any_size import for_any_size


@pytest.mark.parametrize(
    ("before", "after"), [(14, 14), (14, 7), (14, 9), (14, 20), (3, 1), (2, 13), (5, 6)]
)
def test_weights_are_those_of_torch(before, after):
    line = torch.randn(1, 1, 1, before)
    resampled = F.interpolate(line, size=(1, after), mode="bicubic", antialias=True)[0, 0]
    assert torch.allclose(resampled, line[0, 0] @ bicubic_weights(before, after).T, atol=3e-6)
    pooled = F.adaptive_avg_pool2d(line, (1, after))[0, 0]
    assert torch.allclose(pooled, line[0, 0] @ pooling_weights(before, after).T, atol=1e-6)


@torch.no_grad()
def test_the_copy_computes_the_same_and_the_model_stays_as_it_is(tiny_segmenter):
    model = tiny_segmenter(image_size=37)
    before = [type(module) for module in model.modules()]
    copied = for_any_size(model)
    for size in ((38, 38), (29, 61), (64, 96)):
        images = torch.randn(2, 3, *size)
        assert torch.allclose(copied(images), model(images), atol=1e-5)
    assert [type(module) for module in model.modules()] == before
