"""Pictures of what tokens see.

Supports, weights and fields as they are, in the pixels of the image.
"""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from nommer.nominations import tokens
from nommer.nominations.images import explain_images
from nommer.nominations.intervention import intervene
from nommer.nominations.render_tokens import KIND_COLOURS, token_figure


@pytest.fixture
def explain(tiny_classifier, noisy):
    def explain(kind, tokens):
        model, image = tiny_classifier(), noisy((120, 90, 60), size=(64, 64))
        with intervene(model, kind):
            (explanation,) = explain_images(model, [image], tokens=tokens)
        return explanation

    return explain


def panel(figure, title, which=0):
    return [axes for axes in figure.axes if axes.get_title() == title][which]


@pytest.mark.parametrize("kind", ["convolution", "window", "global"])
def test_a_panel_is_coloured_where_the_token_sees_and_dark_elsewhere(explain, kind):
    explanation = explain(kind, [(20, 10)])
    figure = explanation.plot_tokens()
    FigureCanvasAgg(figure).draw()
    for view in explanation.tokens[0].views[:2]:
        axes = panel(figure, f"{view.block}: {kind}")
        rgba = np.asarray(axes.images[-1].get_array())
        support = view.support.numpy()
        assert np.allclose(rgba[support][:, :3], to_rgb(KIND_COLOURS[kind]))
        assert np.allclose(rgba[~support], (0, 0, 0, 0.5))
        assert list(axes.images[-1].get_extent()) == [0, 32, 32, 0]
        if view.weights is not None:
            strength = rgba[..., 3][support]
            weights = view.weights.numpy()[support]
            assert np.allclose(strength, 0.1 + 0.75 * weights / weights.max())
    under = panel(figure, f"stage 1 block 1: {kind}").get_xlabel()
    assert ("3 x 3 tokens,\n6 x 6 pixels" in under) == (kind == "convolution")
    assert ("half of it in " in under) == (kind != "convolution")


def test_the_panel_of_fields_tells_from_which_block_on_a_pixel_counts(explain):
    explanation = explain("convolution", [(20, 10)])
    figure = explanation.plot_tokens()
    axes = panel(figure, "pixels that can influence it")
    rgba = np.asarray(axes.images[-1].get_array())
    first, second = (field.numpy() for field in explanation.tokens[0].fields.values())
    assert len(np.unique(rgba[first], axis=0)) == 1
    assert len(np.unique(rgba[second & ~first], axis=0)) == 1
    assert np.allclose(rgba[~second], (0, 0, 0, 0.5))
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [
        f"{first.mean():.1%} after stage 1 block 1",
        f"{second.mean():.1%} after stage 2 block 1",
    ]


def test_every_token_has_its_part_and_the_class_token_too(explain):
    figure = explain("window", [(20, 10), (40, 40)]).plot_tokens()
    names = [part.get_suptitle() for part in figure.subfigs]
    assert names == ["token at x 20, y 10", "token at x 40, y 40", "class token"]
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    of_token = [
        "image",
        "stage 1 block 1: window",
        "stage 2 block 1: window",
        "pixels that can influence it",
    ]
    of_token += ["how strongly (gradient)", "stage 3 block 1", "stage 4 block 1"]
    assert titles == [*of_token, *of_token, "stage 4 block 1"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["convolution", "window", "global", "attention"]


def test_small_fields_are_enlarged_and_large_ones_not(tiny_segmenter, noisy):
    model = tiny_segmenter()
    local = intervene(model, "convolution", blocks=["stage 1 block 1"])
    with local, intervene(model, "global", blocks=["stage 2 block 1"]):
        (explanation,) = explain_images(
            model, [noisy((120, 90, 60), size=(96, 64))], tokens=[(50, 30), (0, 63)]
        )
    figure = explanation.plot_tokens()
    for which, (x, y) in enumerate([(50, 30), (0, 63)]):
        small = panel(figure, "stage 1 block 1: convolution", which)
        large = panel(figure, "stage 2 block 1: global", which)
        (left, right), (bottom, top) = small.get_xlim(), small.get_ylim()
        assert right - left < 48
        assert (right - left) / (bottom - top) == pytest.approx(96 / 64)
        assert left <= x < right <= 96
        assert 0 <= top <= y < bottom <= 64
        assert large.get_xlim() == (0, 96)


def test_without_a_token_there_is_nothing_to_show(explain):
    explanation = explain("window", [(1, 1)])
    with pytest.raises(ValueError, match="no token was asked for"):
        token_figure(explanation.image, [], [], title="x")


def test_images_too_large_for_the_gradient_have_the_other_panels(explain, monkeypatch):
    monkeypatch.setattr(tokens, "_MOST_GRADIENT_PIXELS", 100)
    explanation = explain("window", [(1, 1)])
    assert explanation.tokens[0].gradient is None
    titles = [axes.get_title() for axes in explanation.plot_tokens().axes]
    assert "how strongly (gradient)" not in titles
    assert "pixels that can influence it" in titles
    assert torch.is_tensor(explanation.tokens[0].fields["stage 1 block 1"])
