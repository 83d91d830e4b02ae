"""Files that are COCO's, and the split of each."""

import json

import pytest

from nommer.data.formats.coco_files import find_files, load_files, split_in
from nommer.data.formats.source import Source
from nommer.errors import InputError

EMPTY = {"images": [], "annotations": [], "categories": []}


def write(root, *names, content=EMPTY):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["annotations/instances_train2017.json", "annotations/instances_val2017.json"],
            ["train", "val"],
        ),
        (
            [
                "train/_annotations.coco.json",
                "valid/_annotations.coco.json",
                "test/_annotations.coco.json",
            ],
            ["test", "train", "val"],
        ),
        (["train.json", "validation.json"], ["train", "val"]),
        (["everything.json"], ["train"]),
        (["annotations/everything.json", "val.json"], ["train"]),
        (
            ["annotations/instances_train2017.json", "annotations/person_keypoints_train2017.json"],
            ["train"],
        ),
        (["train/1/labels.json"], []),
        ([".train.json"], []),
    ],
)
def test_files_are_found_with_their_splits(tmp_path, names, expected):
    assert list(find_files(Source(write(tmp_path, *names)))) == expected


def test_other_json_files_are_none_of_coco(tmp_path):
    write(tmp_path, "classes.json", content={"classes": ["a", "b"]})
    write(tmp_path, "images.json", content={"images": 7})
    (tmp_path / "empty.json").touch()
    assert find_files(Source(tmp_path)) == {}


def test_several_files_of_one_split_are_refused(tmp_path):
    with pytest.raises(
        InputError,
        match=r"both instances_train.json and instances_training.json describe train images",
    ):
        find_files(Source(write(tmp_path, "instances_train.json", "instances_training.json")))
    with pytest.raises(
        InputError,
        match=r"b.json: one of 2 annotation files, and its name does not say which split",
    ):
        find_files(Source(write(tmp_path / "more", "train.json", "b.json")))


def test_test_images_without_annotations_are_left_out(tmp_path):
    write(tmp_path, "annotations/instances_train2017.json")
    write(tmp_path, "annotations/instances_test2017.json", content={"images": [], "categories": []})
    issues = []
    assert list(load_files(Source(tmp_path), find_files(Source(tmp_path)), issues)) == ["train"]
    assert [(issue.what, issue.done) for issue in issues] == [("holds no annotations", "left out")]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_train2017", "train"),
        ("MyVal", None),
        ("my-VAL_2", "val"),
        ("trainer", None),
        ("testing_1", "test"),
    ],
)
def test_the_split_is_a_word_of_the_name(name, split):
    assert split_in(name) == split
