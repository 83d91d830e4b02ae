"""Small made images whose masks are known, in any layout."""

import numpy as np
import pytest
from PIL import Image

PAINT = np.array([(200, 40, 30), (40, 190, 50), (30, 40, 200), (200, 190, 40), (120, 30, 160)], np.uint8)
"""The colour of every class in the made images."""


def make_labels(seed=0, *, size=(40, 32), classes=3):
    """(H, W) uint8 labels in blocks of 8 pixels, every class among them; size is width, height."""
    width, height = size
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, classes, (-(-height // 8), -(-width // 8)))
    blocks.flat[:classes] = np.arange(classes)
    return np.kron(blocks, np.ones((8, 8), int))[:height, :width].astype(np.uint8)


def paint(labels):
    """The image that `labels` describe."""
    return Image.fromarray(PAINT[np.minimum(labels, len(PAINT) - 1)])


@pytest.fixture(scope="session", name="make_labels")
def _make_labels():
    return make_labels


@pytest.fixture(scope="session", name="paint")
def _paint():
    return paint


@pytest.fixture(scope="session")
def write_pair():
    """Write the image of some labels, and their mask with values that `values` gives for each label."""

    def write(image, mask, labels=None, *, seed=0, values=None):
        labels = make_labels(seed) if labels is None else labels
        for path in (image, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        paint(labels).save(image)
        Image.fromarray(labels if values is None else np.asarray(values, np.uint8)[labels]).save(mask)
        return labels

    return write


@pytest.fixture
def write_layout(write_pair):
    """Write pairs NAME -> (image, mask) below a folder, each with other labels."""

    def write(root, pairs, **options):
        for seed, (image, mask) in enumerate(pairs):
            write_pair(root / image, root / mask, seed=seed, **options)
        return root

    return write


@pytest.fixture
def masked(tmp_path, write_layout):
    """Images and masks of three classes: 6 for training, 3 of validation."""
    names = {"train": range(6), "val": range(6, 9)}
    pairs = [
        (f"images/{split}/{number}.png", f"masks/{split}/{number}.png")
        for split, numbers in names.items()
        for number in numbers
    ]
    return write_layout(tmp_path / "masked", pairs)
