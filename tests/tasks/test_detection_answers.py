"""Answers of a detector on disk."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from faster_coco_eval import COCO
from faster_coco_eval.core import mask as coco_masks
from PIL import Image

from nommer.predictions import Detections, Failure
from nommer.predictions.run_lengths import encode_pixels
from nommer.tasks.detection.answers import save_detections


def detections(path, *, masks=True):
    pixels = np.zeros((2, 30, 40), np.uint8)
    pixels[0, 5:15, 10:30], pixels[1, :3, :4] = 1, 1
    boxes = np.array([[10.0, 5, 30, 15], [0, 0, 4, 3]])
    encoded = tuple(map(encode_pixels, pixels)) if masks else None
    scores, labels = np.array([0.75, 0.25]), np.array([1, 0])
    return Detections(str(path), ("cell", "a, ring"), (30, 40), boxes, scores, labels, encoded)


@pytest.mark.parametrize("pictures", [True, False])
@pytest.mark.parametrize("masks", [True, False])
def test_objects_as_coco_yolo_tables_and_pictures(tmp_path, tiny_detector, noisy, pictures, masks):
    (tmp_path / "b").mkdir()
    paths = [tmp_path / "a.png", tmp_path / "b" / "a.jpg"]
    for path in paths:
        noisy((90, 90, 90), size=(40, 30)).save(path)
    out, model = tmp_path / "out", tiny_detector(("cell", "a, ring"))
    out.mkdir()
    first, failure, second = (
        detections(paths[0], masks=masks),
        Failure("c.png", "cut"),
        detections(paths[1], masks=masks),
    )
    answers = [(paths[0], first), (tmp_path / "c.png", failure), (paths[1], second)]
    assert save_detections(iter(answers), out, model=model, pictures=pictures) == [
        first,
        failure,
        second,
    ]
    assert json.loads((out / "result.json").read_text()) == [
        first.to_dict() | {"labels": "labels/a.txt"},
        failure.to_dict(),
        second.to_dict() | {"labels": "labels/a-2.txt"},
    ]
    with (out / "predictions.csv").open(newline="") as stream:
        assert list(csv.reader(stream))[:4] == [
            ["image", "class", "score", "left", "upper", "right", "lower", "error"],
            [str(paths[0]), "a, ring", "0.750000", "10.00", "5.00", "30.00", "15.00", ""],
            [str(paths[0]), "cell", "0.250000", "0.00", "0.00", "4.00", "3.00", ""],
            ["c.png", "", "", "", "", "", "", "cut"],
        ]
    assert (out / "labels" / "a-2.txt").read_text() == (
        "7 0.500000 0.333333 0.500000 0.333333\n3 0.050000 0.050000 0.100000 0.100000\n"
    ), "with the numbers that the data had for the classes"
    classes = yaml.safe_load((out / "classes.yaml").read_text())
    assert list(classes["names"]) == [3, 7]
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["a-2.txt", "a.txt"]
    assert (out / "images").exists() == pictures
    if pictures:
        assert sorted(path.name for path in (out / "images").iterdir()) == ["a-2.png", "a.png"]
        with Image.open(out / "images" / "a.png") as picture:
            assert picture.size != (40, 30), "small ones are enlarged"


@pytest.mark.parametrize("masks", [True, False])
def test_coco_tools_read_the_file_with_category_ids_as_they_were(tmp_path, tiny_detector, masks):
    pairs = [
        (Path("x.png"), Failure("x.png", "cut")),
        (Path("y.png"), detections("y.png", masks=masks)),
    ]
    save_detections(iter(pairs), tmp_path, model=tiny_detector(), pictures=False)
    content = COCO(str(tmp_path / "coco.json"))
    assert content.getCatIds() == [3, 7]
    assert content.getImgIds() == [2]
    found = content.loadAnns(content.getAnnIds())
    assert [one["category_id"] for one in found] == [7, 3]
    assert [one["score"] for one in found] == [0.75, 0.25]
    assert [one["bbox"] for one in found] == [[10, 5, 20, 10], [0, 0, 4, 3]]
    assert [one["area"] for one in found] == [200, 12]
    if masks:
        assert coco_masks.decode(found[0]["segmentation"])[5:15, 10:30].all()


def test_without_objects_there_is_a_heading_and_a_row_for_every_image(tmp_path, tiny_detector):
    none = detections("y.png", masks=False).at_least(1.1)
    for name, pairs, expected in (
        ("no images", [], []),
        ("no objects", [(Path("y.png"), none)], [["y.png", *[""] * 7]]),
    ):
        (tmp_path / name).mkdir()
        save_detections(iter(pairs), tmp_path / name, model=tiny_detector(), pictures=False)
        with (tmp_path / name / "predictions.csv").open(newline="") as stream:
            heading, *rows = csv.reader(stream)
        assert heading[:2] == ["image", "class"]
        assert rows == expected
