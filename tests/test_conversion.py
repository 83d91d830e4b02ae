"""Answers from and to supervision."""

import sys

import numpy as np
import pytest

from nommer.errors import InputError
from nommer.predictions import Classification, Detections, Segmentation
from nommer.predictions.outlines import outlines
from nommer.predictions.run_lengths import encode_pixels

BOXES = np.array([[10.0, 5, 30, 15], [0, 0, 4, 3]])


def detections(*, masks):
    pixels = np.zeros((2, 30, 40), np.uint8)
    pixels[0, 5:15, 10:30], pixels[1, :3, :4] = 1, 1
    encoded = tuple(map(encode_pixels, pixels)) if masks else None
    scores, labels = np.array([0.75, 0.25]), np.array([1, 0])
    return Detections("a.png", ("cell", "ring"), (30, 40), BOXES, scores, labels, encoded)


@pytest.mark.parametrize("masks", [True, False])
def test_objects_go_there_and_back(masks):
    pytest.importorskip("supervision")
    answer = detections(masks=masks)
    found = answer.to_supervision()
    assert found.data["class_name"].tolist() == ["ring", "cell"]
    found = found[[1, 0]]
    back = Detections.from_supervision(
        found, size=None if masks else (30, 40), source="a.png", class_names=("cell", "ring")
    )
    for name in ("source", "class_names", "size", "masks"):
        assert getattr(back, name) == getattr(answer, name)
    for name in ("boxes", "scores", "labels"):
        assert np.array_equal(getattr(back, name), getattr(answer, name))
    known = Detections.from_supervision(found, size=(30, 40))
    assert known.class_names == ("cell", "ring")


def test_what_is_not_known_is_asked_for():
    pytest.importorskip("supervision")
    found = detections(masks=False).to_supervision()
    with pytest.raises(InputError, match=r"from_supervision: there are no masks, so give size"):
        Detections.from_supervision(found)
    with pytest.raises(InputError, match="class ids go up to 1, but 1 class names are known"):
        Detections.from_supervision(found, size=(30, 40), class_names=("cell",))


def test_classes_and_regions_go_there():
    pytest.importorskip("supervision")
    found = Classification("a.png", ("x", "y"), (0.25, 0.75)).to_supervision()
    assert found.confidence.tolist() == [0.25, 0.75]
    labels = np.array([[0, 0, 2], [0, 0, 2]], np.uint8)
    colours = ((0, 0, 0), (1, 1, 1), (2, 2, 2))
    regions = Segmentation("a.png", ("x", "y", "z"), colours, labels).to_supervision()
    assert regions.xyxy.tolist() == [[0, 0, 2, 2], [2, 0, 3, 2]]
    assert regions.class_id.tolist() == [0, 2]
    assert np.array_equal(regions.mask[1], labels == 2)


def test_without_supervision_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(InputError, match=r"to_supervision: needs the package supervision"):
        detections(masks=True).to_supervision()


def test_filled_outlines_are_the_mask():
    """Even-odd: every pixel's centre lies in an odd number of outlines where the mask is."""
    draw = np.random.default_rng(0)
    for _ in range(30):
        height, width = draw.integers(1, 12, 2)
        mask = draw.random((height, width)) < draw.random()
        rows, columns = np.mgrid[:height, :width] + 0.5
        filled = np.zeros_like(mask)
        for points in outlines(mask):
            for (x, y), (_, other) in zip(points, np.roll(points, -1, 0), strict=True):
                filled ^= (rows > min(y, other)) & (rows < max(y, other)) & (columns < x)
        assert np.array_equal(filled, mask)
