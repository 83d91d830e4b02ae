"""The texts of the report fit the network that was studied."""

import pytest

from nommer.backbone.contexts import CONTEXTS
from nommer.studies.wording import effects, introduction


def said(contexts, fusion):
    return " ".join(introduction(contexts=contexts, fusion=fusion, resamples=10, seed=3).split())


@pytest.mark.parametrize("fusion", ["nomination", "softmax"])
def test_the_introduction_tells_of_the_contexts_and_the_fusion_that_there_are(fusion):
    three, two = said(CONTEXTS, fusion), said(("convolution", "global"), fusion)
    assert (
        "in three ways, called contexts: `convolution` sees the nearest tokens, `window`" in three
    )
    assert (
        "in two ways, called contexts: `convolution` sees the nearest tokens and `global` sees"
        in two
    )
    assert "window" not in two
    assert ("highest score" in three) == (fusion == "nomination")
    assert ("mixed by the softmax" in three) == (fusion == "softmax")


@pytest.mark.parametrize("fusion", ["nomination", "softmax"])
def test_what_does_nothing_is_told_with_reservation(fusion):
    told = tell(fusion=fusion, measure_name="top-1", parts=())
    assert "on these images and by this measure it mattered little" in told
    assert "7 of the images" in told
    assert "The measure is top-1." in told
    assert ("mixes its contexts" in told) == (fusion == "softmax")
    assert "only tokens whose centre lies there" not in told


def tell(**facts):
    return " ".join(effects(images_judged=7, seed=0, resamples=400, **facts).split())


def test_parts_are_told_of_where_there_are_any():
    told = tell(fusion="nomination", measure_name="box AP", parts=("objects", "background"))
    assert "the rows that name objects or background, only tokens whose centre lies there" in told
    assert "two tokens" not in told
    told = tell(
        fusion="nomination", measure_name="mIoU", parts=("near borders", "away from borders")
    )
    assert "near is under two tokens of the finest grid; `share of pixels`" in told
