"""CamVid as it lies beside the checkout: read as its README says, trained and used."""

import json
import tarfile

import numpy as np
import pytest

from nommer.data.formats.masks import read_mask_folders
from nommer.data.mask_audit import audit_masks
from nommer.data.masks import IGNORE, read_mask

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def camvid(shared_data, tmp_path_factory):
    """The archives, unpacked."""
    root = tmp_path_factory.mktemp("camvid")
    for split in ("train", "val", "test"):
        with tarfile.open(shared_data / "camvid" / f"{split}.tar") as archive:
            archive.extractall(root, filter="data")
    return root


def test_the_archives_ask_to_be_unpacked(refused, shared_data, tmp_path):
    sentence = refused("train --data", shared_data / "camvid", "--out", tmp_path / "run")
    assert "tar" in sentence
    assert "unpack" in sentence


def test_is_read_as_its_readme_says(camvid):
    data = read_mask_folders(camvid)
    assert {split: len(samples) for split, samples in data.splits.items()} == {
        "train": 367,
        "val": 101,
        "test": 233,
    }
    assert data.class_names == (
        *("Sky", "Building", "Pole", "Road", "Pavement", "Tree"),
        *("SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
    )
    for split, share in (("train", 0.0395), ("val", 0.0170), ("test", 0.0383)):
        masks = [read_mask(sample.mask, data.encoding) for sample in data.splits[split]]
        assert {mask.shape for mask in masks} == {(360, 480)}
        assert np.mean([mask == IGNORE for mask in masks]) == pytest.approx(share, abs=5e-5)


def test_nothing_is_amiss_in_it(camvid):
    audited = audit_masks(read_mask_folders(camvid))
    assert len(audited.data.samples()) == 701
    assert audited.data.left_out == 0
    assert audited.short_side == 360
    assert (audited.class_counts > 0).all()


@pytest.mark.long
@pytest.mark.slow
def test_a_few_steps_are_better_than_none(run, camvid, tmp_path):
    small = "--model nommer_micro --image-size 96 --epochs 1 --epoch-steps 20 --batch-size 4"
    small += " --workers 0"
    sizes = "--segmentation.decoder-channels 16 --segmentation.short-side 90"
    run("train --data", camvid, "--config camvid_nommer_nano --out", tmp_path / "run", small, sizes)
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["images"] == 101
    assert found["pixel_accuracy"] > 0.4
