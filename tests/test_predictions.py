"""What the models answer, as values and pictures."""

import json

import numpy as np
import pytest
from PIL import Image

from nommer.predictions import Classification, Failure


@pytest.fixture
def answer():
    return Classification("a b/ü.png", ("ant", "bee", "cow"), (0.25, 0.5, 0.25))


def test_the_most_probable_class_comes_first_and_ties_keep_their_order(answer):
    assert (answer.label, answer.name, answer.probability) == (1, "bee", 0.5)
    assert answer.top(2) == [("bee", 0.5), ("ant", 0.25)]
    assert answer.top(9) == [("bee", 0.5), ("ant", 0.25), ("cow", 0.25)]


def test_as_json(answer):
    assert json.loads(json.dumps(answer.to_dict(1))) == {
        "image": "a b/ü.png",
        "top": [{"class": "bee", "probability": 0.5}],
    }
    assert Failure("x.png", "too dark").to_dict() == {"image": "x.png", "error": "too dark"}


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (32, 48), (1, 2000), (640, 480), (3000, 200)])
def test_the_annotated_image_shows_the_image_and_three_lines(answer, size):
    sheet = answer.plot(Image.new("RGB", size, (0, 0, 255)))
    pixels = np.asarray(sheet).astype(int)
    text = pixels[-70:]
    assert max(sheet.width, sheet.height - 78) <= 640
    assert (pixels[0, 0] == [0, 0, 255]).all()
    if sheet.width > 100:
        assert (text.sum(-1) < 200).any(), "black letters"
    if size == (640, 480):
        assert (pixels[:480] == [0, 0, 255]).all()
    if size == (8, 8):
        assert sheet.width == 224


def test_is_saved_as_a_picture(answer, tmp_path):
    answer.save(tmp_path / "a.jpg", Image.new("RGB", (300, 200)))
    with Image.open(tmp_path / "a.jpg") as saved:
        assert saved.size == (600, 2 * 200 + 78)


def test_the_picture_is_as_wide_as_the_longest_class_name():
    names = ("a class with a name that is far longer than any small picture is wide", "b")
    picture = Classification("x.png", names, (0.9, 0.1)).plot(Image.new("RGB", (32, 32), "black"))
    right = picture.crop((picture.width - 6, 0, picture.width, picture.height)).convert("L")
    assert picture.width > 400
    assert np.asarray(right).min() == 255
