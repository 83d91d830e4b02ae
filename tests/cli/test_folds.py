"""`nommer train --folds` of masks and of objects, and the folds as one model."""

import json

import numpy as np
import pytest
from PIL import Image

import nommer
from tests.cli.test_detection import write_coco
from tests.run_contents import rows

OBJECTS = [
    *("--model=nommer_micro", "--epochs=1", "--batch-size=2", "--workers=0", "--device=cpu"),
    *("--detection.short-side=32", "--detection.long-side=48", "--detection.fpn-channels=8"),
    "--detection.box-channels=16",
]


@pytest.fixture(params=["segmentation", "detection"])
def folded(request, run, scenes, segment_options, tmp_path):
    """A training in two folds, of data with a val: its folder, and images of the val."""
    out, data = tmp_path / "folds", scenes
    options = [*segment_options, "--epochs=1"]
    if request.param == "detection":
        data, options = write_coco(tmp_path / "data", masks=True), OBJECTS
    run("train", "--data", data, "--folds=2", "--out", out, *options)
    return request.param, data, out


@pytest.mark.usefixtures("sketched")
def test_every_image_is_answered_out_of_fold_and_ranked(folded, run, tmp_path):
    task, data, out = folded
    table = rows(out / "out_of_fold.csv")
    assert len(table) == 6
    assert {row["fold"] for row in table} == {"0", "1"}
    assert json.loads((out / "result.json").read_text())["task"] == task
    doubts = rows(out / "doubtful_labels.csv")
    assert sorted(row["file"] for row in doubts) == sorted(row["file"] for row in table)
    qualities = [float(row["quality"]) for row in doubts]
    assert qualities == sorted(qualities)
    assert "data:image/" in (out / "doubtful_labels.html").read_text()
    run("evaluate", out, "--data", data, "--workers 0 --out", tmp_path / "judged")
    judged = json.loads((tmp_path / "judged" / "result.json").read_text())
    assert judged["split"] == "val"
    (answer,) = nommer.load(out).predict([Image.fromarray(np.zeros((40, 50, 3), np.uint8))])
    assert answer.class_names == nommer.load(out / "fold-1").class_names
