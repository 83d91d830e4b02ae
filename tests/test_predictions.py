"""The models' answers, as values and pictures."""

import dataclasses
import json
import pickle
import sys
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_masks
from PIL import Image

from nommer.errors import InputError
from nommer.predictions import (
    Classification,
    Detections,
    Failure,
    Picture,
    Segmentation,
    SegmentationSummary,
    class_colour,
    with_picture,
)
from nommer.predictions import picture as picture_room


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
    return Segmentation(
        "a b/ü.png", ("ant", "bee", "cow"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)), labels
    )


def test_shares_of_the_classes_that_occur_add_to_one_largest_first(segmentation):
    assert list(segmentation.shares.items()) == [("cow", 15 / 24), ("ant", 9 / 24)]
    assert json.loads(json.dumps(segmentation.to_dict())) == {
        "image": "a b/ü.png",
        "height": 4,
        "width": 6,
        "shares": {"cow": 0.625, "ant": 0.375},
    }
    assert segmentation.summary() == SegmentationSummary(
        "a b/ü.png", 4, 6, {"cow": 0.625, "ant": 0.375}
    )


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


@pytest.fixture
def pixels():
    """Masks of two objects in an image of 12 x 8 pixels."""
    masks = np.zeros((2, 8, 12), np.uint8)
    masks[0, 2:6, 3:9], masks[1, :2, 10:] = 1, 1
    masks[0, 2, 3] = 0
    return masks


@pytest.fixture
def detections(pixels):
    encoded = tuple(coco_masks.encode(np.asfortranarray(mask))["counts"] for mask in pixels)
    boxes, scores = np.array([[3.0, 2, 9, 6], [9.6, 0, 12, 2.4]]), np.array([0.9, 0.4])
    return Detections(
        "a b/ü.png", ("ant", "bee"), (8, 12), boxes, scores, np.array([1, 0]), encoded
    )


def test_objects_as_plain_values(detections):
    assert len(detections) == 2
    assert json.loads(json.dumps(detections.to_dict())) == {
        "image": "a b/ü.png",
        "height": 8,
        "width": 12,
        "objects": [
            {"class": "bee", "score": 0.9, "box": [3, 2, 9, 6]},
            {"class": "ant", "score": 0.4, "box": [9.6, 0, 12, 2.4]},
        ],
    }


def test_objects_as_coco_results(detections, pixels):
    first, second = json.loads(json.dumps(detections.to_coco(17, [90, 4])))
    assert (first["image_id"], first["category_id"], first["score"]) == (17, 4, 0.9)
    assert first["bbox"] == [3, 2, 6, 4]
    assert second["category_id"] == 90
    assert second["bbox"] == pytest.approx([9.6, 0, 2.4, 2.4])
    for result, mask in zip((first, second), pixels, strict=True):
        assert (coco_masks.decode(result["segmentation"]) == mask).all()


def test_objects_as_yolo_labels(detections):
    assert detections.to_yolo() == (
        "1 0.500000 0.500000 0.500000 0.500000\n0 0.900000 0.150000 0.200000 0.300000\n"
    )


def test_pixels_and_areas_of_objects_with_masks_and_without(detections, pixels):
    for index in range(2):
        assert (detections.mask(index) == pixels[index].astype(bool)).all()
    assert detections.areas.tolist() == [23, 4]
    boxes = dataclasses.replace(detections, masks=None)
    assert boxes.areas == pytest.approx([24, 2.4**2])
    assert boxes.mask(0).sum() == 24
    assert boxes.mask(0)[2:6, 3:9].all()
    assert "segmentation" not in boxes.to_coco(1, [1, 2])[0]


def test_objects_with_at_least_a_score(detections):
    assert len(detections.at_least(0.4)) == 2
    (first,) = detections.at_least(0.5).to_coco(1, [1, 2])
    assert first["score"] == 0.9
    assert len(detections.at_least(0.95)) == 0


@pytest.mark.parametrize("masks", [True, False])
def test_nothing_found(masks):
    nothing = Detections(
        "x",
        ("ant",),
        (8, 12),
        np.zeros((0, 4)),
        np.zeros(0),
        np.zeros(0, int),
        () if masks else None,
    )
    assert nothing.to_dict()["objects"] == []
    assert nothing.to_coco(1, [1]) == []
    assert nothing.to_yolo() == ""
    assert nothing.areas.shape == (0,)
    assert set(np.asarray(nothing.plot(Image.new("RGB", (12, 8), (9, 9, 9)))).ravel()) == {9}


def test_the_picture_shows_boxes_masks_and_names_in_the_classes_colours(detections, tmp_path):
    image = Image.new("RGB", (12, 8), (100, 100, 100))
    picture = np.asarray(detections.plot(image)).astype(int)
    assert picture.shape == (28 * 8, 28 * 12, 3)
    colour = np.array(class_colour(1))
    tinted = (np.abs(picture - (100 + colour) // 2).max(-1) <= 1).mean()
    assert 0.1 < tinted < 24 / 96
    assert ((picture == colour).all(-1)).sum() > 500, "lines of the box and the ground of its name"
    assert (picture.sum(-1) < 100).any(), "black letters"
    assert (picture[-1, 0] == 100).all()
    assert image.getpixel((5, 4)) == (100, 100, 100)
    boxes = np.asarray(dataclasses.replace(detections, masks=None).plot(image)).astype(int)
    assert (boxes[28 * 4, 28 * 5] == 100).all(), "nothing is tinted without masks"
    detections.save(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as saved:
        assert (np.asarray(saved) == picture).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 3), (3000, 2000)])
def test_pictures_of_objects_in_images_of_any_size(size):
    box = np.array([[0.0, 0, *size]])
    answer = Detections(
        "x", ("a class with a very long name",), size[::-1], box, np.ones(1), np.zeros(1, int)
    )
    assert max(answer.plot(Image.new("RGB", size)).size) <= 1280


def test_colours_of_classes_differ():
    colours = np.array([class_colour(label) for label in range(20)])
    distances = np.abs(colours[:, None] - colours).sum(-1) + 999 * np.eye(20)
    assert distances.min() > 30


def test_of_many_objects_a_picture_shows_no_names_and_one_class_has_a_colour_per_object():
    def picture(count, names, **options):
        boxes = np.array(
            [
                [
                    10.0 * (i % 30) + 1,
                    30.0 * (i // 30) + 25,
                    10.0 * (i % 30) + 6,
                    30.0 * (i // 30) + 30,
                ]
                for i in range(count)
            ]
        )
        found = Detections(
            "x.png", names, (300, 300), boxes, np.ones(count), np.zeros(count, np.int64)
        )
        return np.asarray(found.plot(Image.new("RGB", (300, 300)), **options))

    def has_letters(pixels):
        return not (pixels[:20] == 0).all()

    one, two = ("cell",), ("cell", "ring")
    assert has_letters(picture(5, two))
    assert has_letters(picture(5, two, with_scores=False))
    assert not has_letters(picture(40, two)), "they would hide the picture"
    assert has_letters(picture(5, one))
    assert not has_letters(picture(5, one, with_scores=False)), (
        "the name of the only class says nothing"
    )
    assert len({tuple(colour) for colour in picture(61, one).reshape(-1, 3)}) > 30
    assert len({tuple(colour) for colour in picture(61, two).reshape(-1, 3)}) == 2


def shown(source="a <b>.png"):
    """One answer of each kind."""
    boxes = np.array([[1.0, 2.0, 11.0, 12.0], [3.0, 4.0, 6.0, 8.0]])
    return [
        Classification(source, ("ant", "bee <i>"), (0.25, 0.75)),
        Detections(
            source, ("ant", "bee <i>"), (20, 30), boxes, np.array([0.9, 0.5]), np.array([1, 0])
        ),
        Segmentation(
            source, ("ant", "bee <i>"), ((255, 0, 0), (0, 0, 255)), np.ones((20, 30), np.uint8)
        ),
        SegmentationSummary(source, 20, 30, {"bee <i>": 1.0}),
        Failure(source, "cut <here>"),
    ]


def test_answers_are_short_in_a_line():
    classes, objects, pixels, shares, failure = map(repr, shown("a.png"))
    assert classes == "<Classification of a.png: bee <i> 75.0%, ant 25.0%>"
    assert objects == "<Detections of a.png: 1 bee <i>, 1 ant>"
    assert pixels == "<Segmentation of a.png: bee <i> 100.0%>"
    assert shares == "<SegmentationSummary of a.png: bee <i> 100.0%>"
    assert failure == "Failure(source='a.png', error='cut <here>')"
    many = Classification("a.png", tuple(f"class {i}" * 9 for i in range(900)), (1 / 900,) * 900)
    assert len(repr(many)) < 150


def test_notebooks_show_answers_with_pictures_and_nothing_unescaped():
    picture = Picture.of_file(lambda: Image.new("RGB", (30, 20), (0, 255, 0)))
    for answer in shown():
        html = with_picture(answer, picture)._repr_html_()
        assert "a &lt;b&gt;.png" in html
        assert "<b>" not in html
        assert "<i>" not in html
        assert "<here>" not in html
        whole = isinstance(answer, Classification | Detections | Segmentation)
        assert html.count("data:image/jpeg;base64,") == whole
    gone = with_picture(shown()[0], Picture.of_file(lambda: Path("nowhere").read_bytes()))
    assert "<img" not in gone._repr_html_(), "a file that is gone leaves the words"


def test_pictures_of_pixels_are_held_for_the_last_answers_alone(monkeypatch):
    monkeypatch.setattr(picture_room, "MOST_PIXELS", 1000)
    monkeypatch.setattr(picture_room, "_held", deque())
    pictures = [Picture.of_pixels(Image.new("L", (20, 20), value)) for value in range(4)]
    values = [picture.open() and picture.open().getpixel((0, 0)) for picture in pictures]
    assert values == [None, None, 2, 3]
    answer = with_picture(shown()[1], pictures[3])
    assert answer.at_least(0.6).picture is pictures[3]
    assert pickle.loads(pickle.dumps(answer)).picture.open() is None


def test_answers_become_tables_of_pandas():
    classes, objects, pixels, shares, failure = (answer.to_pandas() for answer in shown("a.png"))
    assert classes.to_dict("list") == {
        "image": ["a.png", "a.png"],
        "class": ["bee <i>", "ant"],
        "probability": [0.75, 0.25],
    }
    assert list(objects.columns) == (
        ["image", "class", "score", "left", "upper", "right", "lower", "area"]
    )
    assert objects.area.tolist() == [100.0, 12.0]
    assert pixels.equals(shares)
    assert failure.error.tolist() == ["cut <here>"]


def test_without_pandas_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"to_pandas: needs the package pandas; pip install"):
        shown()[0].to_pandas()
