"""Odd names of classes, in tables and elsewhere."""

import pytest
from PIL import Image

from nommer.data.formats.classification import read_classification
from nommer.data.formats.find import find_task
from nommer.data.formats.oddities import find_alike, find_no_labels
from nommer.data.formats.source import Source
from nommer.data.formats.tables import read_tables
from nommer.errors import InputError


@pytest.fixture
def table(tmp_path):
    """A table of images with these labels."""

    def table(labels, *, column="label"):
        for number in range(len(labels)):
            Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / f"{number}.png")
        rows = [f'{number}.png,"{label}"' for number, label in enumerate(labels)]
        file = tmp_path / "t.csv"
        file.write_text("\n".join([f"image,{column}", *rows]))
        return file

    return table


@pytest.mark.parametrize("odd", ["nan", "None", "-1", "N/A", "null"])
def test_labels_that_look_like_none_are_told(table, odd):
    (issue,) = read_classification(table(["red", "blue", odd])).issues
    assert issue.what == f"class {odd!r} looks like no label"
    assert issue.severity == "problem"


def test_numbers_with_zeros_before_are_nearly_the_same(table):
    (issue,) = read_classification(table(["1", "01", "2"])).issues
    assert issue.what == "classes of nearly the same name: '01', '1'"
    assert find_alike("root", ["7", "70", "a7"]) == []
    assert find_no_labels("root", ["banana", "nano", "1"]) == []


def test_labels_that_are_encoded_otherwise_are_one(table):
    data = read_classification(table(["caf\u00e9", "cafe\u0301", "b"]))
    assert data.class_names == ("b", "caf\u00e9")
    assert not data.issues


def test_files_are_found_however_their_names_are_encoded(tmp_path):
    for name in ("cafe\u0301", "b"):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("caf\u00e9.png,one\nb.png,two\n", encoding="utf-8")
    data = read_tables(Source(tmp_path / "t.csv"))
    assert all(sample.path.exists() for sample in data.samples())


RECURRING = ["scab", "rust", "scab{s}rust", "healthy", "scab{s}complex", "rust{s}complex"]


@pytest.mark.parametrize("column", ["labels", "tags"])
@pytest.mark.parametrize("sign", [" ", ",", ", ", ";", "|"])
def test_signs_between_parts_that_recur_put_classes_apart(table, sign, column):
    file = table([label.format(s=sign) for label in RECURRING], column=column)
    assert find_task(file) == "multi-label classification"
    assert read_classification(file).class_names == ("complex", "healthy", "rust", "scab")


@pytest.mark.parametrize("column", ["label", "labels"])
@pytest.mark.parametrize("quote", ["'", ""])
def test_lists_are_read_as_python_writes_them(table, column, quote):
    cells = ["a", "b"], ["b"], [], ["c d"]
    labels = [f"[{', '.join(f'{quote}{cell}{quote}' for cell in own)}]" for own in cells]
    data = read_classification(table(labels, column=column))
    assert data.class_names == ("a", "b", "c d")
    assert [sample.labels for sample in data.samples()] == [(0, 1), (1,), (), (2,)]


def test_blanks_that_belong_to_names_are_kept(table):
    data = read_classification(table(["golden retriever", "tabby cat", "pug"], column="labels"))
    assert data.class_names == ("golden retriever", "pug", "tabby cat")
    names = ["red fox", "fox", "red panda"]
    assert read_classification(table(names)).class_names == ("fox", "red fox", "red panda")


@pytest.mark.parametrize(
    ("labels", "column"),
    [
        (["red fox", "fox", "grey wolf"], "labels"),
        (["a, b", "c, d", "e"], "labels"),
        (["scab rust", "scab", "rust"], "label"),
    ],
)
def test_signs_that_may_be_either_are_refused(table, labels, column):
    with pytest.raises(InputError, match="may be one class or several, put apart by"):
        read_classification(table(labels, column=column))
