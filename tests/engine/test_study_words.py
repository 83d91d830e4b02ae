"""What the report says fits the network that was studied."""

import pytest

from nommer.backbone.contexts import CONTEXTS
from nommer.engine.study_words import effects, introduction


def said(contexts, fusion):
    return " ".join(introduction(contexts=contexts, fusion=fusion, resamples=10, seed=3).split())


@pytest.mark.parametrize("fusion", ["nomination", "softmax"])
def test_the_introduction_tells_of_the_contexts_and_the_fusion_that_there_are(fusion):
    three, two = said(CONTEXTS, fusion), said(("convolution", "global"), fusion)
    assert "in three ways, called contexts: `convolution` sees the nearest tokens, `window`" in three
    assert "in two ways, called contexts: `convolution` sees the nearest tokens and `global` sees" in two
    assert "window" not in two
    assert ("highest score" in three) == (fusion == "nomination")
    assert ("mixed by the softmax" in three) == (fusion == "softmax")


@pytest.mark.parametrize("fusion", ["nomination", "softmax"])
def test_what_does_nothing_is_told_with_reservation(fusion):
    told = " ".join(effects(fusion=fusion, images_judged=7, seed=0, measure_name="top-1").split())
    assert "on these images and by this measure it mattered little" in told
    assert "7 of the images" in told
    assert "The measure is top-1." in told
    assert ("mixes its contexts" in told) == (fusion == "softmax")
