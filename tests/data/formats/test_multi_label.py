"""Tables of images with several classes each.

Found by what they hold, refused where that cannot be told.
"""

import pytest

from nommer.data.formats.classification import read_classification
from nommer.data.formats.find import find_task
from nommer.data.formats.folders import split_stratified
from nommer.errors import InputError


@pytest.fixture
def table(tmp_path, write_classes):
    """Write a table beside six images a/a-0.png to a/a-5.png."""
    write_classes(tmp_path, {"a": 6})

    def write(*lines, name="data.csv"):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    return write


def rows(*labels, separator=",", first=0):
    return [
        f"a/a-{number}.png{separator}{label}" for number, label in enumerate(labels, start=first)
    ]


def labels_of(data, split="train"):
    return [sample.labels for sample in data.splits[split]]


@pytest.mark.parametrize("sign", [";", "|"])
@pytest.mark.parametrize("heading", ["path,labels", "file,Tags", "image,label"])
def test_one_column_with_all_classes_of_an_image(table, sign, heading):
    root = table(heading, *rows(f"dog{sign}cat", "cat", f"cat{sign} bird"))
    assert find_task(root) == "multi-label classification"
    data = read_classification(root)
    assert data.multi_label
    assert data.class_names == ("bird", "cat", "dog")
    assert labels_of(data) == [(1, 2), (1,), (0, 1)]
    assert [data.target_of(sample) for sample in data.samples()] == ["cat;dog", "cat", "bird;cat"]


def test_a_column_of_zeros_and_ones_for_each_class(table):
    root = table(
        "image,split,dog,cat,bird",
        *rows("train,1,1,0", "train,0,0,0", "val,0,0,1", "train,0.0,0,1.0"),
    )
    assert find_task(root) == "multi-label classification"
    data = read_classification(root)
    assert data.class_names == ("dog", "cat", "bird"), "in the order of the columns"
    assert labels_of(data) == [(0, 1), (), (2,)]
    assert labels_of(data, "val") == [(2,)]


def test_an_image_may_have_no_class_where_the_column_is_for_several(table):
    data = read_classification(
        table("path\tlabels", *rows("a", "", "a;b", separator="\t"), name="data.tsv")
    )
    assert labels_of(data) == [(0,), (), (0, 1)]


def test_a_column_called_for_several_may_always_hold_one(table):
    root = table("path,labels", *rows("a", "b", "a"))
    assert find_task(root) == "multi-label classification"
    assert labels_of(read_classification(root)) == [(0,), (1,), (0,)]


def test_tables_by_split_have_the_same_classes(table):
    table("path,x,y", *rows("1,0", "0,1"), name="train.csv")
    root = table("path,x,y", *rows("1,1", first=2), name="val.csv").parent
    data = read_classification(root)
    assert labels_of(data, "val") == [(0, 1)]
    table("path,y,x", *rows("0,0", "1,1", first=2), name="val.csv")
    with pytest.raises(
        InputError, match=r"val\.csv: its classes are y, x; expected x, y, as in .*train\.csv"
    ):
        read_classification(root)
    table("path,label", *rows("x", "y", first=2), name="val.csv")
    with pytest.raises(
        InputError, match="one of its lists gives images one class each, another several"
    ):
        read_classification(root)


def test_one_class_per_image_stays_what_it_was(table):
    for heading in ("path,label,rainy,sunny", "path,label"):
        extra = ",1,0" if "rainy" in heading else ""
        root = table(heading, *rows(*(f"{name}{extra}" for name in "aab")))
        assert find_task(root) == "classification"
        assert not read_classification(root).multi_label


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,label", *rows("cat;dog", "bird", "cow")], "'cat;dog' may be one class or several"),
        (["path,labels", *rows("cat;dog", "cat|dog")], "labels hold both ';' and '|'"),
        (
            ["path,cat,dog", *rows("1,0", "0,2")],
            r"line 3: column 'dog' holds '2'; expected 0 or 1 in every column",
        ),
        (
            ["path,cat,dog", *rows("1,-1", "-1,1")],
            r"line 3: column 'cat' holds '-1'; expected 0 or 1",
        ),
        (["path,cat,cat", *rows("1,0", "0,1")], "the classes cat have no name of their own"),
        (["path,cat,note", *rows("1,wet", "0,dry")], "column 'note' holds 'wet'"),
        (["path,cat", *rows("1", "0")], "no column for the label; found path, cat"),
        (
            ["path,labels", *rows("cat", "cat;cat")],
            "every image is of class 'cat'; expected at least two",
        ),
        (["path,labels", *rows("", "")], "no training image has a class"),
    ],
)
def test_what_cannot_be_told_is_refused(table, lines, message):
    with pytest.raises(InputError, match=message):
        read_classification(table(*lines))


def test_a_model_to_evaluate_gives_the_order_and_must_know_the_classes(table):
    root = table("path,dog,cat", *rows("1,1", "0,1"))
    assert labels_of(read_classification(root, ("cat", "bird", "dog"))) == [(0, 2), (0,)]
    with pytest.raises(InputError, match="class dog is not among the model's classes"):
        read_classification(root, ("cat", "bird"))


def test_the_split_holds_back_a_part_of_every_kind(table):
    data = read_classification(table("path,labels", *rows("a", "a;b", "b", "b;c", "c", "")))
    split = split_stratified(data, fraction=0.5, seed=0)
    assert sum(map(len, split.splits.values())) == 6
    assert split.multi_label
    assert split.splits["val"]
