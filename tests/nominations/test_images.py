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
from nommer.nominations.images import Explanation, explain_images
from nommer.nominations.render import CONTEXT_COLOURS, overlay
from nommer.predictions import Failure


@pytest.fixture
def picture(tmp_path, noisy):
    noisy((120, 90, 60), size=(64, 48)).save(tmp_path / "a $5 $6.png")
    return tmp_path / "a $5 $6.png"


def test_an_explanation_is_the_models_own_answer_and_nominations(tiny_classifier, picture):
    model = tiny_classifier()
    (explanation,) = explain_images(model, [picture])
    assert np.allclose(explanation.prediction.probabilities, model.predict(picture)[0].probabilities, atol=1e-6)
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
def test_the_picture_is_tinted_with_the_colour_of_what_is_nominated(tiny_classifier, picture, context):
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
