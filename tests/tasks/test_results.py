"""Predictions on disk."""

import csv
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nommer.predictions import Classification, Failure, Segmentation
from nommer.settings.pixel_range import Reading
from nommer.tasks.classification.results import save_pictures, save_predictions
from nommer.tasks.names import unique_names
from nommer.tasks.segmentation.results import save_segmentations


def test_tables_hold_every_answer_and_every_error(tmp_path):
    predictions = [Classification("a, b.png", ("x", "y"), (0.25, 0.75)), Failure("c.png", "cut")]
    save_predictions(predictions, tmp_path, top=2)
    assert json.loads((tmp_path / "result.json").read_text()) == [
        {
            "image": "a, b.png",
            "top": [{"class": "y", "probability": 0.75}, {"class": "x", "probability": 0.25}],
        },
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


def test_names_differ_in_more_than_small_and_capital_letters():
    paths = [Path(name) for name in ("a/IMG.png", "b/img.png", "c/Img-2.png", "d/IMG.png")]
    assert unique_names(paths) == ["IMG", "img-2", "Img-2-2", "IMG-3"]


def test_many_files_of_one_name_are_named_in_no_time():
    """As scene_0001/image.png and so on; each looks for a free number no more than once."""
    paths = [CountedPath(f"{number}/image.png") for number in range(2_000)]
    names = unique_names(paths)
    assert (names[0], names[-1]) == ("image", "image-2000")
    assert len(set(names)) == len(paths)
    assert max(path.asked for path in paths) < 10


class CountedPath(type(Path())):
    """A path that counts how often it is asked for its name."""

    asked = 0

    @property
    def stem(self):
        self.asked += 1
        return super().stem


def test_pictures_of_the_answered_images_only(tmp_path, noisy):
    for name in ("a.png", "b.png"):
        noisy((200, 0, 0), size=(300, 240)).save(tmp_path / name)
    answer = Classification(str(tmp_path / "a.png"), ("x", "y"), (0.25, 0.75))
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    answers = list(zip(paths, [answer, Failure("b", "cut")], strict=True))
    reading = Reading((255, 255, 255))
    assert list(save_pictures(answers, tmp_path / "images", reading=reading)) == answers
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a.jpg"]
    with Image.open(tmp_path / "images" / "a.jpg") as picture:
        assert picture.width == 300
        assert picture.height > 240


def segmentation(path, labels):
    colours = ((255, 0, 0), (0, 0, 255))
    return Segmentation(str(path), ("x", "y, z"), colours, np.array(labels, np.uint8))


@pytest.mark.parametrize("pictures", [True, False])
def test_segmentations_as_images_and_tables(tmp_path, noisy, pictures):
    (tmp_path / "b").mkdir()
    paths = [tmp_path / "a.png", tmp_path / "b" / "a.jpg"]
    for path in paths:
        noisy((200, 0, 0), size=(3, 2)).save(path)
    out = tmp_path / "out"
    out.mkdir()
    answers = [
        (paths[0], segmentation(paths[0], [[0, 0, 1], [0, 0, 0]])),
        (tmp_path / "c.png", Failure(str(tmp_path / "c.png"), "cut")),
        (paths[1], segmentation(paths[1], [[1, 1, 1], [1, 1, 1]])),
    ]
    kept = save_segmentations(
        iter(answers), out, pictures=pictures, reading=Reading((255, 255, 255))
    )
    assert kept == [answers[0][1].summary(), answers[1][1], answers[2][1].summary()]
    assert json.loads((out / "result.json").read_text()) == [
        kept[0].to_dict() | {"labels": "index/a.png"},
        kept[1].to_dict(),
        kept[2].to_dict() | {"labels": "index/a-2.png"},
    ]
    with (out / "predictions.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["image", "class", "share", "error"],
            [str(paths[0]), "x", "0.833333", ""],
            [str(paths[0]), "y, z", "0.166667", ""],
            [str(tmp_path / "c.png"), "", "", "cut"],
            [str(paths[1]), "y, z", "1.000000", ""],
        ]
    kinds = ("index", "overlays", "palette") if pictures else ("index", "palette")
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == list(kinds)
    for kind in kinds:
        assert sorted(path.name for path in (out / kind).iterdir()) == ["a-2.png", "a.png"]
    with (
        Image.open(out / "index" / "a.png") as index,
        Image.open(out / "palette" / "a.png") as palette,
    ):
        assert (np.asarray(index) == answers[0][1].labels).all()
        assert (np.asarray(palette) == answers[0][1].labels).all()
        assert palette.convert("RGB").getpixel((2, 0)) == (0, 0, 255)


def test_the_pixels_of_one_image_are_held_at_a_time(tmp_path):
    alive = []

    def answers():
        for number in range(4):
            answer = segmentation(f"{number}.png", np.zeros((50, 50)))
            alive.append(weakref.ref(answer))
            yield Path(answer.source), answer
            del answer
            assert sum(reference() is not None for reference in alive) <= 1

    kept = save_segmentations(answers(), tmp_path, pictures=False, reading=Reading((0, 0, 0)))
    assert len(kept) == len(list((tmp_path / "index").iterdir())) == 4


@pytest.mark.parametrize("letter", ["a", "ü", "\udcff", "猫"])
def test_names_of_results_leave_room_on_the_disk(tmp_path, letter):
    encoded = len(letter.encode(errors="surrogateescape"))
    path = Path(letter * (250 // encoded) + ".png")
    names = unique_names([path, path, path.with_name("x" + path.name)])
    assert len(set(names)) == 3
    for name in names:
        (tmp_path / f"{name}.png").touch()
    assert unique_names([Path("b\n\x1b[0m.png")]) == ["b__[0m"]
