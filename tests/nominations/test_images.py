"""Explanations of images: what the network saw, its answer, and maps that the pictures show."""

import json

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from nommer import NominationTrace
from nommer.backbone.contexts import CONTEXTS
from nommer.models import segmentation
from nommer.models.networks import build_timm
from nommer.nominations.explanation import Explanation
from nommer.nominations.forcing import explain_forced
from nommer.nominations.images import explain_images
from nommer.nominations.page import forced_values
from nommer.nominations.render import CONTEXT_COLOURS, overlay
from nommer.predictions import Failure
from nommer.predictions.failure import NOT_FINITE
from nommer.settings.forcing import Forcing


@pytest.fixture
def picture(tmp_path, noisy):
    noisy((120, 90, 60), size=(64, 48)).save(tmp_path / "a $5 $6.png")
    return tmp_path / "a $5 $6.png"


def test_an_explanation_is_the_models_own_answer_and_nominations(tiny_classifier, picture):
    model = tiny_classifier()
    (explanation,) = explain_images(model, [picture])
    assert np.allclose(
        explanation.prediction.probabilities, model.predict(picture)[0].probabilities, atol=1e-6
    )
    assert explanation.image.size == (32, 32)
    with NominationTrace(model, keep_maps=True) as trace, torch.inference_mode():
        model(model.preprocessing.normalise(explanation.image)[None])
    assert explanation.shares == trace.shares()
    for block in trace.blocks:
        assert torch.equal(explanation.maps[block], trace.maps(block)[0])
    plain = json.loads(json.dumps(explanation.to_dict()))
    assert plain["shares"] == explanation.shares
    assert plain["image"] == str(picture)
    for block in trace.blocks:
        assert sum(plain["mean_probabilities"][block].values()) == pytest.approx(1, abs=1e-5)


def test_one_bad_image_does_not_stop_the_others(tiny_classifier, picture):
    first, second, third = explain_images(tiny_classifier(), [picture, "nowhere.png", picture])
    assert second == Failure("nowhere.png", "file does not exist")
    assert first.shares == third.shares


def test_the_model_stays_in_the_mode_it_was_in(tiny_classifier, picture):
    model = tiny_classifier().train()
    assert isinstance(next(explain_images(model, [picture])), Explanation)
    assert all(module.training for module in model.modules())


def test_scores_that_are_no_numbers_are_explained_by_nothing(tiny_classifier, picture):
    model = tiny_classifier()
    model.network.head.weight.data.fill_(torch.nan)
    assert next(explain_images(model, [picture])) == Failure(str(picture), NOT_FINITE)


@pytest.mark.parametrize("size", [(32, 32), (256, 256), (100, 70)])
def test_every_token_has_the_colour_of_its_context(size):
    nominated = torch.tensor([[0, 1, 2], [2, 2, 0]])
    weights = torch.nn.functional.one_hot(nominated, 3)
    shown = np.asarray(overlay(Image.new("RGB", size, (128, 128, 128)), weights)).astype(float)
    palette = {name: np.array(to_rgb(colour)) * 255 for name, colour in CONTEXT_COLOURS.items()}
    for row, line in enumerate(nominated.tolist()):
        for column, context in enumerate(line):
            y, x = int((row + 0.5) * size[1] / 2), int((column + 0.5) * size[0] / 3)
            tint = shown[y, x] - 0.4 * 128
            assert np.allclose(tint / 0.6, palette[CONTEXTS[context]], atol=2)


def drawn(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


@pytest.mark.parametrize("context", range(3))
def test_the_picture_is_tinted_with_the_colour_of_what_is_nominated(
    tiny_classifier, picture, context
):
    model = tiny_classifier()
    for name, module in model.named_modules():
        if name.endswith("nominator.score"):
            torch.nn.init.zeros_(module.weight)
            module.bias.data = torch.nn.functional.one_hot(torch.tensor(context), 3) * 50.0
    (explanation,) = explain_images(model, [picture])
    grey = np.asarray(explanation.image.convert("L")).mean()
    near = []
    pixels = drawn(explanation.plot())
    for name in CONTEXTS:
        expected = 0.4 * grey + 0.6 * np.array(to_rgb(CONTEXT_COLOURS[name])) * 255
        near.append((np.abs(pixels - expected).max(-1) < 30).mean())
    assert int(np.argmax(near)) == context
    assert near[context] > 0.1
    assert sum(near) - near[context] < 0.02, "the other colours stand in the legend only"


# ---- segmenters


@pytest.mark.parametrize("size", [(64, 48), (61, 47), (33, 200)])
def test_a_segmenter_is_explained_by_its_own_answer(tiny_segmenter, noisy, size):
    model, image = tiny_segmenter(), noisy((120, 90, 60), size=size)
    (explanation,) = explain_images(model, [image])
    assert (explanation.prediction.labels == model.predict(image)[0].labels).all()
    assert explanation.image.size == size
    assert explanation.shrunk_from is None
    with NominationTrace(model, keep_maps=True) as trace, torch.inference_mode():
        model(model.preprocessing(image)[None])
    for block, stride in zip(trace.blocks, (2, 4), strict=True):
        rows, columns = -(-size[1] // stride), -(-size[0] // stride)
        assert torch.equal(explanation.maps[block], trace.maps(block)[0, :rows, :columns])
        assert explanation.probabilities[block].shape == (rows, columns, 3)
        counts = torch.bincount(explanation.maps[block].flatten().long(), minlength=3)
        assert list(explanation.shares[block].values()) == pytest.approx(
            (counts / (rows * columns)).tolist()
        )


@pytest.mark.parametrize("options", [{}, {"short_side": 30}])
def test_shares_per_class_are_those_counted_pixel_by_pixel(tiny_segmenter, noisy, options):
    model, image = tiny_segmenter(**options), noisy((120, 90, 60), size=(61, 47))
    (explanation,) = explain_images(model, [image])
    labels, (height, width) = explanation.prediction.labels, model.preprocessing.size(47, 61)
    assert len(np.unique(labels)) > 1
    for block, stride in zip(explanation.maps, (2, 4), strict=True):
        counts = np.zeros((3, 3))
        for y in range(47):
            for x in range(61):
                cell = int((y + 0.5) * height / 47) // stride, int((x + 0.5) * width / 61) // stride
                counts[labels[y, x], explanation.maps[block][cell]] += 1
        expected = {
            name: dict(zip(CONTEXTS, counts[label] / counts[label].sum(), strict=True))
            for label, name in enumerate(model.class_names)
            if counts[label].any()
        }
        found = explanation.shares_per_class[block]
        assert set(found) == set(expected)
        assert list(found) == list(explanation.prediction.shares), "the largest class first"
        for name, shares in expected.items():
            assert found[name] == pytest.approx(shares)


def test_what_is_forced_tells_the_contexts_in_each_class(tiny_segmenter, noisy):
    image = noisy((120, 90, 60), size=(50, 40))
    forced = explain_forced(tiny_segmenter(), image, [Forcing("global")], name="a")
    told = forced_values(forced)
    assert told["shares_per_class"] == forced.shares_per_class
    for classes in told["shares_per_class"].values():
        assert all(shares["global"] == 1 for shares in classes.values())


def test_a_segmenters_explanation_as_json(tiny_segmenter, noisy):
    (explanation,) = explain_images(tiny_segmenter(), [noisy((120, 90, 60), size=(50, 40))])
    plain = json.loads(json.dumps(explanation.to_dict()))
    assert plain["classes"] == explanation.prediction.shares
    assert plain["shares"] == explanation.shares
    assert plain["shares_per_class"] == explanation.shares_per_class
    assert plain["shrunk_from"] is None
    assert (plain["height"], plain["width"]) == (40, 50)


def test_a_large_image_is_shrunk_and_that_is_said(tiny_segmenter, noisy, monkeypatch):
    monkeypatch.setattr(segmentation, "WHOLE_PIXELS", 50 * 40)
    small, large = noisy((120, 90, 60), size=(50, 40)), noisy((120, 90, 60), size=(100, 81))
    first, second = explain_images(tiny_segmenter(), [small, large])
    assert first.shrunk_from is None
    assert second.shrunk_from == (81, 100)
    assert second.image.size == (49, 40)
    assert second.prediction.labels.shape == (40, 49)
    assert second.to_dict()["shrunk_from"] == (81, 100)
    assert "shrunk from 100 x 81" in second.plot().get_suptitle()


def test_one_bad_image_does_not_stop_the_others_of_a_segmenter(tiny_segmenter, picture):
    model = tiny_segmenter().train()
    first, second, third = explain_images(model, [picture, "nowhere.png", picture])
    assert second == Failure("nowhere.png", "file does not exist")
    assert first.shares_per_class == third.shares_per_class
    assert all(module.training for module in model.modules())
    model.network.classifier[1].bias.data[:] = torch.nan
    assert list(explain_images(model, [picture])) == [
        Failure(str(picture), "the model's scores are NaN or infinite")
    ]


@pytest.mark.parametrize("context", range(3))
def test_a_segmenters_picture_shows_contexts_answer_and_bars(tiny_segmenter, picture, context):
    model = tiny_segmenter()
    for name, module in model.named_modules():
        if name.endswith("nominator.score"):
            torch.nn.init.zeros_(module.weight)
            module.bias.data = torch.nn.functional.one_hot(torch.tensor(context), 3) * 50.0
    (explanation,) = explain_images(model, [picture])
    assert all(
        shares == {name: float(name == CONTEXTS[context]) for name in CONTEXTS}
        for classes in explanation.shares_per_class.values()
        for shares in classes.values()
    )
    figure = explanation.plot()
    pixels = drawn(figure)
    colour = 0.4 * 255 + 0.6 * np.array(to_rgb(CONTEXT_COLOURS[CONTEXTS[context]])) * 255
    assert (np.abs(pixels - colour).max(-1) < 3).mean() > 0.05, "bars of one colour on white"
    names = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    assert set(names) == set(explanation.prediction.shares)


def test_a_network_that_nominates_nothing_cannot_be_explained(tiny_segmenter, picture):
    model = tiny_segmenter(backbone=build_timm("test_convnext", num_classes=0))
    with pytest.raises(ValueError, match="Segmenter holds no NomMer"):
        list(explain_images(model, [picture]))
