"""The digits of the demo."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from nommer.data.digits import write_digits
from nommer.data.formats.folders import read_class_folders


def test_the_digits_are_scikit_learns_split_by_class(tmp_path):
    data = read_class_folders(write_digits(tmp_path / "digits"))
    assert data.class_names == tuple("0123456789")
    assert len(data.splits["train"]) == 1437
    assert len(data.splits["val"]) == 360
    digits = load_digits()
    numbers = {int(sample.path.stem): sample.label for sample in data.samples()}
    assert numbers == dict(enumerate(digits.target.tolist()))
    in_val = np.bincount([sample.label for sample in data.splits["val"]])
    assert in_val.min() >= 34
    with Image.open(data.splits["val"][0].path) as image:
        assert image.size == (32, 32)
        scan = digits.images[int(data.splits["val"][0].path.stem)] / 16
        small = np.asarray(image.resize((8, 8), Image.Resampling.BOX)) / 255
    assert np.abs(small - scan).mean() < 0.1
