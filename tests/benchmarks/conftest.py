"""What the tests of benchmarks share."""

import numpy as np
import pytest


@pytest.fixture
def image_cache(tmp_path):
    """Twenty drawn images of five classes, laid out as by `teacher_cache.py`."""
    draw = np.random.default_rng(0)
    for part in ("train", "val"):
        folder = tmp_path / "cache" / part
        folder.mkdir(parents=True)
        np.save(folder / "images.npy", draw.integers(0, 256, (20, 64, 64, 3), np.uint8))
        np.save(folder / "labels.npy", np.arange(20) % 5)
    return tmp_path / "cache"
