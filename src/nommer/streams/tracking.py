"""Objects of a video that keep their numbers, by ByteTrack from the package trackers."""

from dataclasses import replace
from typing import Any

import numpy as np

from nommer.errors import InputError
from nommer.extras import require
from nommer.predictions import Detections

_OPTION = "--track"


def check_tracking() -> None:
    """Refuse to track where the package is missing, before anything is done.

    Raises:
        InputError: it is not installed, or cannot be imported.
    """
    try:
        require("trackers", "track", _OPTION)
        require("supervision", "track", _OPTION)
    except ImportError as error:  # OpenCV's usual build needs libraries of a desktop
        raise InputError(
            f"{_OPTION}: the package trackers cannot be imported ({error}); where a library of "
            "the desktop is missing, pip install opencv-python-headless helps"
        ) from error


class Tracker:
    """Numbers the objects of one video: ByteTrack's Kalman filter and matching of boxes by IoU.

    What a model answers is tracked, whatever its score, for the thresholds were applied already;
    so ByteTrack's second matching, of boxes below a threshold, has nothing to do. An object has a
    number from the second frame on in which it is found, whatever its class, and keeps it where it
    is not found for up to a second.

    Source: Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box",
    ECCV 2022.

    Args:
        rate: frames per second that are answered, on average.
    """

    def __init__(self, rate: float) -> None:
        self._supervision = require("supervision", "track", _OPTION)
        self._tracker: Any = require("trackers", "track", _OPTION).ByteTrackTracker(
            frame_rate=rate, track_activation_threshold=0.0, high_conf_det_threshold=0.0
        )
        self._last = -np.inf

    def numbered(self, found: Detections) -> Detections:
        """Return the objects of the next frame with their numbers."""
        seconds = None if found.moment is None else found.moment.seconds
        return replace(found, tracks=self.update(found.boxes, found.scores, seconds))

    def update(
        self, boxes: np.ndarray, scores: np.ndarray, seconds: float | None
    ) -> tuple[int | None, ...]:
        """Return the number of each object of the next frame; None of one that has none yet.

        Args:
            boxes: (n, 4) left, upper, right and lower end in pixels.
            scores: (n,) from 0 to 1.
            seconds: of the frame; None where the video has no times.
        """
        places = np.arange(len(boxes))
        given = self._supervision.Detections(
            xyxy=np.asarray(boxes, np.float32).reshape(-1, 4),
            confidence=np.asarray(scores, np.float32),
            class_id=np.zeros(len(boxes), int),
            data={"place": places},
        )
        is_later = seconds is not None and seconds > self._last
        self._last = seconds if seconds is not None and is_later else self._last
        found = self._tracker.update(given, timestamp=seconds if is_later else None)
        numbers: list[int | None] = [None] * len(boxes)
        pairs = zip(found.data.get("place", ()), found.tracker_id, strict=True)
        for place, number in pairs if len(found) else ():
            numbers[int(place)] = int(number) if number >= 0 else None
        return tuple(numbers)
