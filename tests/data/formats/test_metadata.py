"""Hugging Face's image folders, as its documentation has them."""

import json

import numpy as np
import pytest

from nommer.data.formats.classification import read_classification
from nommer.data.formats.detection import read_detection
from nommer.data.formats.find import find_task
from nommer.errors import InputError

LABELS = ["cat", "dog", "cat", "dog"]


@pytest.fixture
def folder(tmp_path, noisy):
    """train/ and val/ with images 0.png to 3.png."""
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for number in range(4):
            noisy((200, 40, 30), seed=number).save(tmp_path / split / f"{number}.png")
    return tmp_path


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return
    lines = [",".join(rows[0]), *(",".join(str(v) for v in row.values()) for row in rows)]
    path.write_text("\n".join(lines))


def found(folder):
    return read_classification(folder)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_labels_are_classes_in_the_folder_of_every_split(folder, form):
    rows = [{"file_name": f"{n}.png", "label": label} for n, label in enumerate(LABELS)]
    for split in ("train", "val"):
        write(folder / split / f"metadata.{form}", rows)
    assert find_task(folder) == "classification"
    data = found(folder)
    assert data.class_names == ("cat", "dog")
    assert [sample.label for sample in data.splits["val"]] == [0, 1, 0, 1]
    assert data.issues == ()


def test_one_file_above_the_splits_tells_both_and_what_is_not_read(folder):
    rows = [
        {"file_name": f"{split}/{n}.png", "label": n % 2, "text": "a drawing"}
        for split in ("train", "val")
        for n in range(3)
    ]
    write(folder / "metadata.jsonl", rows)
    data = found(folder)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 3, "val": 3}
    told = [(issue.what, issue.severity) for issue in data.issues]
    assert ("the columns text", "note") in told
    assert told.count(("no row is about it", "problem")) == 2


def test_lists_are_several_classes(folder):
    rows = [{"file_name": f"{n}.png", "labels": ["a", "b"][: n % 3]} for n in range(4)]
    for split in ("train", "val"):
        write(folder / split / "metadata.jsonl", rows)
    assert find_task(folder) == "multi-label classification"
    data = found(folder)
    assert data.class_names == ("a", "b")
    assert [sample.labels for sample in data.splits["train"]] == [(), (0,), (0, 1), ()]


def objects(form):
    boxes, categories = [[2.0, 4.0, 10.0, 20.0], [5.0, 5.0, 30.0, 20.0]], ["cell", "dot"]
    if form == "lists":
        return {"bbox": boxes, "categories": categories}
    pairs = zip(boxes, categories, strict=True)
    return [{"bbox": box, "category": category} for box, category in pairs]


@pytest.mark.parametrize("form", ["lists", "objects"])
def test_objects_are_boxes(folder, form):
    rows = [{"file_name": f"{n}.png", "objects": objects(form)} for n in range(3)]
    rows.append({"file_name": "3.png", "objects": {"bbox": [], "categories": []}})
    for split in ("train", "val"):
        write(folder / split / "metadata.jsonl", rows)
    assert find_task(folder) == "detection"
    data = read_detection(folder)
    assert data.class_names == ("cell", "dot")
    first, *_, last = data.splits["train"]
    np.testing.assert_array_equal(first.objects.boxes, [[2, 4, 12, 24], [5, 5, 35, 25]])
    assert first.objects.labels.tolist() == [0, 1]
    assert len(last.objects.boxes) == 0
    assert [len(part) for part in data.splits.values()] == [4, 4]
    assert data.issues == ()


def test_objects_in_a_csv_are_json(folder):
    cell = json.dumps({"bbox": [[1, 2, 3, 4]], "categories": [0]}).replace('"', '""')
    (folder / "train" / "metadata.csv").write_text(f'file_name,objects\n0.png,"{cell}"\n')
    data = read_detection(folder)
    assert data.class_names == ("0",)
    np.testing.assert_array_equal(data.splits["train"][0].objects.boxes, [[1, 2, 4, 6]])


def test_corners_in_the_place_of_width_and_height_are_told(folder):
    rows = [{"file_name": "0.png", "objects": {"bbox": [[30, 20, 40, 30]], "categories": ["a"]}}]
    write(folder / "train" / "metadata.jsonl", rows)
    told = [issue.what for issue in read_detection(folder).issues]
    assert any("they were corners" in what for what in told)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"image": "0.png", "objects": {}}, "has no file_name, but image, objects"),
        ({"file_name": "0.png", "objects": {"bbox": [[1, 2, 3, 4]]}}, "expected lists of the same"),
        ({"file_name": "0.png", "objects": {"bbox": [], "categories": [1]}}, "the same length"),
        ({"file_name": "0.png", "objects": {"bbox": [[1, 2]], "categories": [1]}}, "four numbers"),
    ],
)
def test_what_is_not_understood_is_refused(folder, row, sentence):
    write(folder / "train" / "metadata.jsonl", [row])
    with pytest.raises(InputError, match=rf"metadata.jsonl line 1.*{sentence}"):
        read_detection(folder)


def test_captions_are_no_labels(folder):
    write(folder / "train" / "metadata.jsonl", [{"file_name": "0.png", "text": "a drawing"}])
    with pytest.raises(InputError, match=r"no column for the label; found file_name, text"):
        found(folder)


def test_captions_beside_class_folders_leave_the_classes_to_these(tmp_path, write_classes):
    write_classes(tmp_path / "train", {"blue": 2, "red": 2})
    rows = [{"file_name": "blue/blue-0.png", "text": "a drawing"}]
    write(tmp_path / "train" / "metadata.jsonl", rows)
    data = found(tmp_path)
    assert data.class_names == ("blue", "red")
    assert any(issue.file.endswith("metadata.jsonl") for issue in data.issues)


def test_a_line_that_is_no_json_and_two_files_for_one_split_are_refused(folder):
    file = folder / "train" / "metadata.jsonl"
    file.write_text('{"file_name": "0.png"')
    with pytest.raises(InputError, match=r"metadata.jsonl line 1: cannot be read as JSON"):
        found(folder)
    write(file, [{"file_name": "0.png", "label": "cat"}])
    write(file.with_suffix(".csv"), [{"file_name": "0.png", "label": "cat"}])
    with pytest.raises(InputError, match=r"metadata.csv: there is a metadata.jsonl of train"):
        found(folder)
