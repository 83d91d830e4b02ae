"""`check --looks`: dark, light and blurred images, and those that look the same."""

import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

import nommer
from nommer.checking import check as checking
from nommer.errors import InputError


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Sharp scenes of edges, and one each that is dark, light, blurred, and saved anew."""
    root = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)

    def scene():
        small = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        return Image.fromarray(small).resize((192, 192), Image.Resampling.NEAREST)

    for split, name in (("train", "a"), ("train", "b"), ("val", "a"), ("val", "b")):
        (root / split / name).mkdir(parents=True)
        for number in range(2):
            scene().save(root / split / name / f"{number}.png")
    one = Image.open(root / "train" / "a" / "0.png")
    one.save(root / "val" / "a" / "again.jpg", quality=85)
    scene().point(lambda value: value // 8).save(root / "train" / "a" / "dark.png")
    scene().point(lambda value: 250 + value // 52).save(root / "train" / "b" / "light.png")
    patches = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    large = Image.fromarray(patches).resize((512, 512), Image.Resampling.NEAREST)
    large.filter(ImageFilter.GaussianBlur(10)).save(root / "train" / "b" / "blurred.png")
    return root


def test_odd_images_and_equal_ones_are_told(photographs, tmp_path):
    found = nommer.check(photographs, out=tmp_path / "out", looks=True).findings
    told = {}
    for issue in found:
        told.setdefault(issue.file.removeprefix(f"{photographs}/"), []).append(issue)
    assert "is dark" in told["train/a/dark.png"][0].what
    assert "is very light" in told["train/b/light.png"][0].what
    assert "is blurred" in told["train/b/blurred.png"][0].what
    (again,) = told["val/a/again.jpg"]
    assert again.what.startswith("is nearly the same image as train/a/0.png (pHash), which is in")
    assert again.severity == "problem"
    assert len(told) == 4
    lines = (tmp_path / "out" / "data_issues.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == len(found)


def test_without_the_package_it_is_refused_at_once(photographs, tmp_path, monkeypatch):
    def absent(module, extra, feature):
        raise InputError(f"{feature}: needs the package {module}; pip install 'nommer[{extra}]'")

    monkeypatch.setattr(checking, "require", absent)
    with pytest.raises(InputError, match=r"check --looks: needs .*nommer\[data\]"):
        nommer.check(photographs, out=tmp_path / "out", looks=True)
    assert not (tmp_path / "out").exists()
