"""Objects found in windows: each once, whole, at its place."""

import numpy as np
import pytest
import torch
from PIL import Image

from nommer.errors import InputError
from nommer.models.tiles import Window, in_batches, merge, place, windows_over
from nommer.predictions import Failure
from nommer.settings.inference import Inference

SLIDE = Inference(mode="slide", window=48)


@pytest.fixture
def picture(noisy):
    return noisy((90, 120, 60), size=(110, 70))


def part(boxes, scores, window, size, labels=None, seen=None):
    """Return what a network would have found in a window."""
    found = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor(scores),
        "labels": torch.tensor(labels or [1] * len(scores)),
    }
    return place(found, seen or window.sides[::-1], window, size)


@pytest.mark.parametrize(
    ("size", "side", "overlap"), [((70, 110), 48, 1 / 3), ((40, 200), 64, 0.0)]
)
def test_windows_cover_the_image_and_overlap(size, side, overlap):
    windows = windows_over(size, side, overlap)
    seen = np.zeros(size, int)
    for window in windows:
        seen[window.upper : window.lower, window.left : window.right] += 1
        assert window.sides == (min(side, size[1]), min(side, size[0]))
    assert seen.min() >= 1
    lefts = sorted({window.left for window in windows})
    steps = np.diff(lefts)
    assert (steps <= side * (1 - overlap)).all()
    assert [w for group in in_batches(windows, (side, side)) for w in group] == windows


def test_boxes_are_moved_to_their_place_and_ranked():
    window = Window(100, 50, 150, 100)
    found = part(
        [[0, 20, 10, 40], [40, 40, 60, 60]], [0.5, 0.5], window, (200, 200), seen=(100, 100)
    )
    assert found["boxes"].tolist() == [[100, 60, 105, 70], [120, 70, 130, 80]]
    assert found["rank"].tolist() == [0, 2], "the first touches a border of the window"
    at_the_edge = part([[0, 20, 10, 40]], [0.5], Window(0, 0, 50, 50), (200, 200))
    assert at_the_edge["rank"].tolist() == [2], "a border of the image cuts nothing"
    whole = part([[0, 20, 10, 40]], [0.5], Window(0, 0, 200, 200), (200, 200))
    assert whole["rank"].tolist() == [1]


def test_an_object_at_the_border_of_windows_is_found_once_and_whole():
    """It is cut in the first window, whole in the second; the piece is surer and goes."""
    size, left, right = (64, 96), Window(0, 0, 64, 64), Window(32, 0, 96, 64)
    parts = [
        part([[50, 10, 64, 30]], [0.9], left, size),
        part([[18, 10, 48, 30], [0, 40, 4, 50]], [0.6, 0.8], right, size),
        part([[2, 38, 36, 52]], [0.7], left, size),
    ]
    found = merge(parts, nms=0.5, most=10)
    assert found["boxes"].tolist() == [[2, 38, 36, 52], [50, 10, 80, 30]]
    assert found["scores"].tolist() == pytest.approx([0.7, 0.6])
    assert "rank" not in found


def test_small_objects_in_large_ones_and_other_classes_stay():
    size, window, other = (64, 96), Window(0, 0, 64, 64), Window(32, 0, 96, 64)
    inside = part([[5, 5, 60, 60], [20, 20, 30, 30]], [0.9, 0.5], window, size)
    classes = part([[8, 20, 28, 40]], [0.4], other, size, labels=[2])
    again = part([[8, 20, 28, 40]], [0.3], other, size, labels=[2])
    found = merge([inside, classes, again], nms=0.5, most=10)
    assert found["scores"].tolist() == pytest.approx([0.9, 0.5, 0.4])
    assert len(merge([inside, classes], nms=0.5, most=1)["scores"]) == 1
    nothing = merge([part([], [], window, size)], nms=0.5, most=10)
    assert nothing["boxes"].shape == (0, 4)


@pytest.mark.parametrize("masks", [True, False])
def test_a_detector_answers_in_windows(tiny_detector, picture, masks):
    model = tiny_detector(masks=masks)
    (answer,) = model.predict(picture, inference=SLIDE, most=20)
    assert answer.size == (70, 110)
    assert 0 < len(answer) <= 20
    assert (np.diff(answer.scores) <= 0).all()
    assert (answer.boxes >= 0).all()
    assert (answer.boxes <= [110, 70, 110, 70]).all()
    assert (answer.masks is not None) == masks
    if masks:
        assert answer.mask(0).shape == (70, 110)


def test_an_image_of_one_window_is_answered_as_whole(tiny_detector, noisy):
    model, image = tiny_detector(), noisy((9, 9, 9), size=(48, 48))
    (one,), (other,) = model.predict(image), model.predict(image, inference=SLIDE)
    assert np.allclose(one.boxes, other.boxes)
    assert np.allclose(one.scores, other.scores)


def test_no_more_windows_than_fit_are_seen_at_once(tiny_detector, picture):
    model, most = tiny_detector(), 0
    detect = model.network.detect

    def counted(images, **options):
        nonlocal most
        most = max(most, len(images))
        return detect(images, **options)

    model.network.detect = counted
    model.predict(picture, inference=Inference(mode="slide", window=32, overlap=0.5))
    assert most == 8


def test_what_detectors_do_not_do_is_refused(tiny_detector, picture):
    with pytest.raises(InputError, match=r"--inference\.flip: does nothing for detection"):
        tiny_detector().predict(picture, inference=Inference(flip=True))
    with pytest.raises(InputError, match=r"--inference\.scales: does nothing for detection"):
        tiny_detector().predict(picture, inference=Inference(scales=(1.0, 2.0)))


def test_scores_that_are_no_numbers_are_a_failure_in_windows_too(tiny_detector, picture):
    model = tiny_detector()
    model.network.roi_heads.stages[0].predictor.cls_score.bias.data[1] = torch.nan
    (answer,) = model.predict(Image.fromarray(np.asarray(picture)), inference=SLIDE)
    assert isinstance(answer, Failure)
