"""Fixtures of the tests of streams: micro models on disk, and a video."""

import numpy as np
import pytest

from nommer.models.storage import save_model
from tests.cli.conftest import refused, run  # noqa: F401
from tests.models.conftest import tiny_detector, tiny_rcnn  # noqa: F401
from tests.videos import quarters, write_video


@pytest.fixture(scope="session")
def models(tmp_path_factory, tiny_classifier, tiny_segmenter, tiny_detector):  # noqa: F811
    """A model folder per task."""
    root = tmp_path_factory.mktemp("models")
    several = tiny_classifier()
    several.threshold = 0.2
    built = {
        "classes": tiny_classifier(),
        "several": several,
        "pixels": tiny_segmenter(),
        "objects": tiny_detector(masks=True),
    }
    for name, model in built.items():
        save_model(root / name, model, metrics={}, version="0")
    return {name: root / name for name in built}


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Eight frames of 64 x 48 pixels at uneven times, each brighter than the one before."""
    frames = [quarters(brightness=0.3 + number / 12) for number in range(8)]
    times = [*np.arange(0, 0.6, 0.1), 0.9, 1.0]
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mkv", frames, times=times)
