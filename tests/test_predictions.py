"""What the models answer, as values and pictures."""

import json

import numpy as np
import pytest
from PIL import Image

from nommer.predictions import Classification, Failure, Segmentation, SegmentationSummary


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


@pytest.fixture
def segmentation():
    """Three classes, one of them absent; 6 x 4 pixels."""
    labels = np.array([[0, 0, 0, 2, 2, 2]] * 3 + [[2] * 6], np.uint8)
    return Segmentation("a b/ü.png", ("ant", "bee", "cow"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)), labels)


def test_shares_of_the_classes_that_occur_add_to_one_largest_first(segmentation):
    assert list(segmentation.shares.items()) == [("cow", 15 / 24), ("ant", 9 / 24)]
    assert json.loads(json.dumps(segmentation.to_dict())) == {
        "image": "a b/ü.png",
        "height": 4,
        "width": 6,
        "shares": {"cow": 0.625, "ant": 0.375},
    }
    assert segmentation.summary() == SegmentationSummary("a b/ü.png", 4, 6, {"cow": 0.625, "ant": 0.375})


def test_labels_as_grey_and_as_palette_images_keep_their_values(segmentation, tmp_path):
    for image, mode in ((segmentation.index_image(), "L"), (segmentation.palette_image(), "P")):
        image.save(tmp_path / "labels.png")
        with Image.open(tmp_path / "labels.png") as saved:
            assert saved.mode == mode
            assert (np.asarray(saved) == segmentation.labels).all()
            if mode == "P":
                assert saved.convert("RGB").getpixel((5, 0)) == (0, 0, 255)
                assert saved.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_labels_of_very_many_classes_keep_their_values(tmp_path):
    labels = np.arange(255, dtype=np.uint8)[None]
    colours = tuple((i, 255 - i, i // 2) for i in range(255))
    answer = Segmentation("x", tuple(map(str, range(255))), colours, labels)
    answer.palette_image().save(tmp_path / "palette.png")
    with Image.open(tmp_path / "palette.png") as saved:
        assert (np.asarray(saved) == labels).all()
        assert (np.asarray(saved.convert("RGB"))[0] == np.array(colours)).all()
    assert answer.plot(Image.new("RGB", (255, 1))).height > 255 * 22 / 6, "a legend of all classes"


def test_the_overlay_tints_every_pixel_half_with_its_colour(segmentation):
    image = Image.new("RGB", (6, 4), (100, 100, 100))
    overlay = segmentation.overlay(image)
    assert overlay.getpixel((0, 0)) == (177, 50, 50)
    assert overlay.getpixel((5, 3)) == (50, 50, 177)
    assert image.getpixel((0, 0)) == (100, 100, 100)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (40, 30), (1, 2000), (1600, 20), (3000, 2000)])
def test_the_picture_has_the_overlay_and_a_legend_in_the_classes_colours(size, tmp_path):
    labels = np.zeros(size[::-1], np.uint8)
    labels[0, 0] = 1
    names = ("a class with a name that is longer than any small picture is wide", "$5", "absent")
    answer = Segmentation("x", names, ((200, 0, 0), (0, 200, 0), (0, 0, 200)), labels)
    answer.save(tmp_path / "a.png", Image.new("RGB", size))
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert max(picture.width, picture.height - 100) <= 1280
    legend = pixels[-60:]
    assert (legend == (0, 200, 0)).all(-1).sum() > 100
    assert ((legend == (200, 0, 0)).all(-1).sum() > 100) == (labels.size > 1)
    assert not (pixels == (0, 0, 200)).all(-1).any()
    assert (legend.sum(-1) < 200).any(), "black letters"
    assert pixels[-1, -6:].min() == 255, "the longest name has room"
