"""Figures and tables of a study."""

import numpy as np
import pytest
import torch
from PIL import Image

from nommer.backbone.contexts import CONTEXTS
from nommer.figures import figure_as_png
from nommer.studies.examples import spread
from nommer.studies.figures import (
    MOST_GROUPS,
    curves_figure,
    epochs_figure,
    matrix_figure,
    sensitivity_figure,
    shares_figure,
    shown_groups,
)
from nommer.studies.found import with_interval


def row(block, group, *, pixels=10, share=0.5):
    """A row of a facet: `share` global, the rest convolution."""
    row = {"block": block, "group": group, "pixels": pixels}
    for context, value in zip(CONTEXTS, (1 - share, 0.0, share), strict=True):
        row |= {context: value, f"{context}_low": max(0.0, value - 0.1), f"{context}_high": None}
        row[f"probability_{context}"] = 1 / 3
    return row


def marks(axes, colour_index):
    """Positions along x of the filled marks of one context."""
    return list(axes.containers[colour_index].lines[0].get_xdata())


def test_shares_stand_where_the_numbers_are():
    rows = [row("stage 1 block 1", name, share=share) for name, share in (("a", 0.2), ("b", 0.7))]
    rows.append(row("stage 2 block 1", "b", share=1.0))
    figure = shares_figure(rows, "pixels")
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("stage 1 block 1", "stage 2 block 1")
    assert [text.get_text() for text in first.get_yticklabels()] == ["a", "b"]
    assert marks(first, 2) == [0.2, 0.7]
    assert marks(first, 0) == pytest.approx([0.8, 0.3])
    assert marks(second, 2) == [1.0]
    assert figure_as_png(figure).startswith(b"\x89PNG")
    two = shares_figure(rows, "pixels", contexts=("convolution", "global"))
    assert [text.get_text() for text in two.legends[0].get_texts()] == ["convolution", "global"]
    assert marks(two.axes[0], 1) == [0.2, 0.7]


def test_the_largest_groups_are_shown_in_their_order():
    rows = [row("x", f"class {number}", pixels=number + 1) for number in range(MOST_GROUPS + 5)]
    assert shown_groups(rows, "pixels") == [
        f"class {number}" for number in range(5, MOST_GROUPS + 5)
    ]
    quarters = [row("x", "second quarter"), row("x", "flat"), row("y", "lowest quarter")]
    assert shown_groups(quarters, "pixels") == ["lowest quarter", "second quarter", "flat"]
    assert shown_groups([row("x", "flat"), row("x", "house")], "pixels") == ["flat", "house"], (
        "a class may be called so"
    )


def test_a_matrix_says_its_numbers_and_leaves_empty_what_has_none():
    figure = matrix_figure(
        ["a", "b"], np.array([[0.25, np.nan], [-0.5, 0.0]]), columns=["x", "y"], label="change"
    )
    assert {text.get_text() for text in figure.axes[0].texts} == {"+0.250", "-0.500", "+0.000"}
    (image,) = figure.axes[0].images
    assert image.get_clim() == (-0.5, 0.5), "nothing is in the middle of the colours"
    nothing = matrix_figure(["a"], np.zeros((1, 1)), columns=["x"], label="change")
    assert nothing.axes[0].images[0].get_clim() == (-1.0, 1.0)


def test_lines_are_the_rows():
    rows = [
        {"epoch": epoch, "block": "b", **dict.fromkeys(CONTEXTS, epoch / 10)} for epoch in (1, 2, 3)
    ]
    (axes,) = epochs_figure(rows).axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.1, 0.2, 0.3]] * 3
    assert len(epochs_figure(rows, ("window", "global")).axes[0].lines) == 2
    curves = [
        {"order": order, "way": way, "share_of_cells": at, "probability": at * 0.5}
        for order in ("one", "random order")
        for way in ("deletion", "insertion")
        for at in (0.0, 1.0)
    ]
    deletion, insertion = curves_figure(curves).axes
    assert [line.get_label() for line in deletion.lines] == ["one", "random order"]
    assert list(insertion.lines[1].get_ydata()) == [0.0, 0.5]


def test_sensitivity_lies_on_the_whole_image():
    map_ = torch.zeros(8, 8)
    map_[2, 5] = 0.3
    figure = sensitivity_figure([(Image.new("RGB", (40, 20)), map_, "a.png: cat")])
    image, over = figure.axes[0].images
    assert image.get_extent() == over.get_extent()
    assert over.get_clim() == pytest.approx((-0.3, 0.3))
    assert over.get_array()[2, 5] == pytest.approx(0.3)


def test_intervals_are_written_behind_their_number():
    found = {"a": 0.5, "a_low": 0.25, "a_high": 0.75, "b": -0.00001, "c": None}
    assert with_interval(found, "a") == "0.500 [0.250, 0.750]"
    assert with_interval(found, "b") == "0.000"
    assert with_interval(found, "c") == "n/a"


def test_examples_are_spread_over_all():
    assert spread(10, 3) == [0, 3, 6]
    assert spread(2, 3) == [0, 1]
