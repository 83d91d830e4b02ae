"""Objects keep their numbers through a video."""

import numpy as np
import pytest

from nommer.predictions import Detections, Moment
from nommer.streams.tracking import Tracker

pytest.importorskip("trackers")


def boxes_at(number):
    """Two objects that pass each other, one of which is not found in frames 6 and 7."""
    left = np.array([10 + 4 * number, 40, 40 + 4 * number, 80])
    right = np.array([200 - 4 * number, 100, 230 - 4 * number, 140])
    return np.array([left] if number in (6, 7) else [right, left], float)


def found_at(number, moment=None):
    boxes = boxes_at(number)
    scores, labels = np.full(len(boxes), 0.3), np.zeros(len(boxes), np.int64)
    return Detections("a.mp4", ("cell",), (200, 300), boxes, scores, labels, moment=moment)


@pytest.mark.parametrize("has_times", [False, True])
def test_numbers_stay_also_where_an_object_is_missed(has_times):
    tracker = Tracker(10)
    frames = []
    for number in range(14):
        moment = Moment(number, number / 10 if has_times else None)
        frames.append(tracker.numbered(found_at(number, moment)))
    assert frames[0].tracks == (None, None)
    right, left = frames[2].tracks
    assert right != left
    for number, found in enumerate(frames[2:], start=2):
        assert found.tracks == ((left,) if number in (6, 7) else (right, left)), number
    assert tracker.numbered(found_at(14).take(np.array([], int))).tracks == ()


def test_numbers_are_in_every_form_of_an_answer():
    tracker = Tracker(10)
    found = [tracker.numbered(found_at(number)) for number in range(3)][-1]
    assert [one["track"] for one in found.to_dict()["objects"]] == list(found.tracks)
    assert [row["track"] for row in found.rows()] == list(found.tracks)
    assert found.to_supervision().tracker_id.tolist() == list(found.tracks)
    assert found.take(np.array([1])).tracks == found.tracks[1:]
    assert "track" not in found_at(0).to_dict()["objects"][0]
