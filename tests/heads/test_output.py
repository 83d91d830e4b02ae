"""Predictions on disk."""

import csv
import json
from pathlib import Path

from PIL import Image

from nommer.heads.output import save_pictures, save_predictions, unique_names
from nommer.predictions import Classification, Failure


def test_tables_hold_every_answer_and_every_error(tmp_path):
    predictions = [Classification("a, b.png", ("x", "y"), (0.25, 0.75)), Failure("c.png", "cut")]
    save_predictions(predictions, tmp_path, top=2)
    assert json.loads((tmp_path / "result.json").read_text()) == [
        {"image": "a, b.png", "top": [{"class": "y", "probability": 0.75}, {"class": "x", "probability": 0.25}]},
        {"image": "c.png", "error": "cut"},
    ]
    with (tmp_path / "predictions.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["image", "rank", "class", "probability", "error"],
            ["a, b.png", "1", "y", "0.750000", ""],
            ["a, b.png", "2", "x", "0.250000", ""],
            ["c.png", "", "", "", "cut"],
        ]


def test_names_are_unique_whatever_the_files_are_called():
    paths = [Path(name) for name in ("a/x.png", "b/x.png", "c/x-2.png", "x.jpg", "ü 1.png")]
    assert unique_names(paths) == ["x", "x-2", "x-2-2", "x-3", "ü 1"]


def test_pictures_of_the_answered_images_only(tmp_path, noisy):
    for name in ("a.png", "b.png"):
        noisy((200, 0, 0), size=(300, 240)).save(tmp_path / name)
    answer = Classification(str(tmp_path / "a.png"), ("x", "y"), (0.25, 0.75))
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    save_pictures(paths, [answer, Failure("b", "cut")], tmp_path / "images", background=(255, 255, 255))
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a.jpg"]
    with Image.open(tmp_path / "images" / "a.jpg") as picture:
        assert picture.width == 300
        assert picture.height > 240
