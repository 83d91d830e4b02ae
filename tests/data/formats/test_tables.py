"""Tables and lists: which column is what, where the files are, and every way to get it wrong."""

import zipfile
from pathlib import Path

import pytest
from PIL import Image

from nommer.data.audit import audit
from nommer.data.formats.classification import read_classification
from nommer.data.formats.find import find_task
from nommer.data.formats.folders import split_stratified
from nommer.data.formats.labelled import read_split, split_as_csv
from nommer.data.formats.listed import sort_labels
from nommer.data.images import decode
from nommer.errors import InputError


@pytest.fixture
def photos(tmp_path, write_classes):
    """`photos/blue/blue-N.png` and `photos/red/red-N.png`, 4 each, and what writes a file beside
    them.
    """
    write_classes(tmp_path / "photos", {"blue": 4, "red": 4})

    def write(name, text):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def table(*, header="path,label", sign=",", split=None):
    names = [
        (f"photos/{colour}/{colour}-{n}.png", colour)
        for colour in ("red", "blue")
        for n in range(4)
    ]
    rows = [
        sign.join([name, colour, *([split(n)] if split else [])])
        for n, (name, colour) in enumerate(names)
    ]
    return "\n".join([*([header] if header else []), *rows, ""])


def listed(data, split="train"):
    return {(sample.path.name, data.class_names[sample.label]) for sample in data.splits[split]}


ALL = {(f"{colour}-{n}.png", colour) for colour in ("red", "blue") for n in range(4)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", table()),
        ("labels.csv", table(header=None)),
        ("labels.csv", table(header="File_Name,Class")),
        ("labels.CSV", table(header="image;category", sign=";")),
        ("labels.csv", table(header="image\ttarget", sign="\t")),
        ("labels.tsv", table(header="filename\tclass_name", sign="\t")),
        ("labels.csv", "\ufeff" + table().replace("\n", "\r\n")),
        ("labels.csv", table().replace("\n", "\n\n")),
        ("labels.csv", table().replace("photos/", "photos/../photos/./")),
        ("labels.csv", table().replace("/", "\\")),
        ("labels.txt", table(header=None, sign=" ")),
        ("labels.txt", table(header=None, sign="\t")),
    ],
)
def test_tables_and_lists(photos, name, text, digest):
    file = photos(name, text)
    before = digest(file.parent)
    assert find_task(file) == "classification"
    data = read_classification(file)
    assert data.class_names == ("blue", "red")
    assert listed(data) == ALL
    assert set(data.splits) == {"train"}
    assert all(decode(sample.path).size == (48, 40) for sample in data.samples())
    assert digest(file.parent) == before


def test_more_columns_and_any_order(photos):
    text = "taken,Label,by,path\n" + "".join(
        f'today,{c},"Ann, B",photos/{c}/{c}-{n}.png\n' for c in ("red", "blue") for n in range(4)
    )
    assert listed(read_classification(photos("labels.csv", text))) == ALL


@pytest.mark.parametrize("header", ["path,label,split", None])
def test_a_column_tells_the_split(photos, header):
    text = table(header=header, split=lambda n: ("train", "Train", "valid", "testing")[n % 4])
    data = read_classification(photos("labels.csv", text))
    assert {split: len(samples) for split, samples in data.splits.items()} == {
        "train": 4,
        "val": 2,
        "test": 2,
    }
    data = read_classification(photos("labels.csv", text.replace("valid", "train")))
    assert {split: len(samples) for split, samples in data.splits.items()} == {
        "train": 6,
        "val": 2,
    }, "test becomes val"


def test_absolute_paths_and_paths_into_archives(photos, tmp_path):
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(tmp_path / "photos/red/red-0.png", "deep/a.png")
    text = f"path,label\n{tmp_path}/photos/blue/blue-1.png,blue\nmore.zip/deep/a.png,red\n"
    data = read_classification(photos("labels.csv", text))
    assert listed(data) == {("blue-1.png", "blue"), ("a.png", "red")}
    assert audit(data).data == data


def test_a_split_of_a_table_is_written_and_read_back(photos, tmp_path):
    (tmp_path / "tables").mkdir()
    photos("photos/own.png", b"")
    text = table().replace("photos/", "../photos/")
    data = split_stratified(
        read_classification(photos("tables/labels.csv", text)), fraction=0.25, seed=3
    )
    (tmp_path / "split.csv").write_text(split_as_csv(data))
    found = read_split(data.root, tmp_path / "split.csv")
    assert found == {split: {sample.path for sample in part} for split, part in data.splits.items()}
    here = split_stratified(
        read_classification(photos("labels.csv", table())), fraction=0.25, seed=3
    )
    assert "photos/blue/blue-0.png,train,blue" in split_as_csv(here).splitlines()
    assert len(here.splits["val"]) == 2


@pytest.mark.parametrize("ending", ["txt", "csv", "tsv"])
def test_a_list_for_each_split(photos, tmp_path, ending):
    sign = {"txt": " ", "csv": ",", "tsv": "\t"}[ending]
    rows = [f"photos/{c}/{c}-{n}.png{sign}{c}" for c in ("red", "blue") for n in range(4)]
    photos(f"train.{ending}", "\n".join(rows[::2]))
    photos(f"val.{ending}", "\n".join(rows[1::2]))
    assert find_task(tmp_path) == "classification"
    data = read_classification(tmp_path)
    assert listed(data, "train") | listed(data, "val") == ALL
    assert (len(data.splits["train"]), len(data.splits["val"])) == (4, 4)


def test_names_with_spaces_in_lists(photos, tmp_path):
    (tmp_path / "photos/red/red-0.png").rename(tmp_path / "photos/a red one.png")
    data = read_classification(
        photos("labels.txt", "photos/a red one.png red\nphotos/blue/blue-0.png\tdeep blue\n")
    )
    assert listed(data) == {("a red one.png", "red"), ("blue-0.png", "deep blue")}


def test_numbers_are_in_their_order_and_may_be_named(photos):
    text = table().replace(",red", ",10").replace(",blue", ",9")
    file = photos("labels.csv", text)
    assert read_classification(file).class_names == ("9", "10")
    photos("classes.txt", "\n".join(f"kind {number}" for number in range(11)) + "\n")
    data = read_classification(file)
    assert data.class_names == ("kind 10", "kind 9")
    assert ("red-0.png", "kind 10") in listed(data)
    photos("classes.txt", "\n".join(f"kind {number}" for number in range(10)))
    with pytest.raises(
        InputError, match=r"line 2: class 10, but .*classes.txt names 10, numbered from 0"
    ):
        read_classification(file)
    photos("classes.txt", "same\nother\nsame\n")
    with pytest.raises(InputError, match=r"classes.txt: names same more than once"):
        read_classification(file)


def test_class_folders_say_what_is_what_before_lists_do(photos, tmp_path, write_classes):
    write_classes(tmp_path / "train", {"blue": 2, "red": 2})
    photos("train.txt", "train/blue/blue-0.png 0\n")
    assert read_classification(tmp_path).class_names == ("blue", "red")


def test_lists_without_labels_are_none(photos, tmp_path):
    photos("train.txt", "photos/red/red-0.png\n")
    with pytest.raises(InputError, match="found one class folder, 'photos'"):
        read_classification(tmp_path)


def test_the_same_line_twice_is_listed_and_used_once(photos):
    data = read_classification(photos("labels.csv", table() + "photos/red/red-1.png,red\n"))
    assert listed(data) == ALL
    (issue,) = data.issues
    assert (Path(issue.file).name, issue.done) == ("red-1.png", "used once")
    assert issue.what.endswith("labels.csv line 10")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no images; expected at least one"),
        ("path,label\n", "lists no images; expected at least one"),
        (
            "a.png\nb.png\n",
            "the first row has 1 columns and is no header; expected path and label, maybe split",
        ),
        ("a,b,c,d\n", "the first row has 4 columns and is no header"),
        (
            "path,colour\n",
            "no column for the label; found path, colour; expected one called label, class, ",
        ),
        (
            "name,label\n",
            "no column for the path; found name, label; expected one called path, file, ",
        ),
        (
            "path,label,class\n",
            "the columns label and class may both be the label; rename or remove one",
        ),
        (table() + "photos/red/red-1.png,blue\n", "is of class 'blue', but of 'red' in "),
        (
            table() + "photos/red/red-1.png\n",
            "line 10: found 1 columns; expected 2, as in the first row",
        ),
        (
            table() + "photos/red/red-1.png,\n",
            "line 10: its label is empty; fill it in or remove the row",
        ),
        (table() + ",red\n", "line 10: its path is empty; fill it in or remove the row"),
        (table() + 'x.png,"red\n', "cannot be read as a table: unexpected end of data"),
        (
            table().encode() + b"caf\xe9.png,red\n",
            "line 10 holds the byte 0xe9, which is not UTF-8; save it as UTF-8",
        ),
        ("path,label\nx.png,red\ny.png,blue\n", "none of the 2 images listed is there; first: "),
        (
            table().replace(",blue", ",red"),
            "every image is of class 'red'; expected at least two classes",
        ),
        (
            table(header=None, split=lambda n: "fold 1"),
            "line 1: split 'fold 1' is not known; expected one of train, ",
        ),
        (table(header=None, split=lambda n: "val"), "holds val images but none of train"),
        (
            table(header=None, split=lambda n: "train") + "photos/red/red-1.png,red,val\n",
            "red-1.png is in val, but in train in ",
        ),
        (
            table(header=None, split=lambda n: "train") + "photos/red/../new.png,green,val\n",
            "class green is not among the training classes; found 3: blue, green, red; expected 2: "
            "blue, red",
        ),
    ],
)
def test_mistakes_in_tables(photos, text, message):
    file = photos("labels.csv", text)
    with pytest.raises(InputError) as caught:
        read_classification(file)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(file))


def test_mistakes_in_lists(photos, tmp_path):
    with pytest.raises(
        InputError, match=r"line 1: found 'a.png'; expected a path, a space or tab, and a label"
    ):
        read_classification(photos("labels.txt", "a.png\n"))
    photos("train.csv", table())
    photos("training.txt", table(header=None, sign=" "))
    with pytest.raises(
        InputError, match=r"both train.csv and training.txt list train images; keep one"
    ):
        read_classification(tmp_path)


def test_missing_files_are_for_the_audit(photos):
    data = read_classification(photos("labels.csv", table() + "gone.png,red\n"))
    with pytest.raises(
        InputError, match=r"1 of 9 images cannot be read .*gone.png: file does not exist; mend"
    ):
        audit(data)
    assert listed(audit(data, on_bad_sample="skip").data) == ALL


def test_classes_of_a_model_are_matched_by_name(photos):
    file = photos("labels.csv", table())
    data = read_classification(file, ("red", "green", "blue"))
    assert listed(data) == ALL
    with pytest.raises(
        InputError, match=r"class blue is not among the model's classes; .* expected 2: red, green"
    ):
        read_classification(file, ("red", "green"))


def test_lists_without_labels_are_not_passed_over_in_silence(photos, tmp_path):
    photos("train.txt", table(header=None, sign=" "))
    photos("test.txt", "photos/red/red-0.png\n")
    data = read_classification(tmp_path)
    assert [(Path(i.file).name, i.what, i.done) for i in data.issues] == [
        ("test.txt", "images without a class", "left out")
    ]
    photos("val.txt", "photos/red/red-0.png\n")
    with pytest.raises(InputError, match=r"val.txt: its first line has no label"):
        read_classification(tmp_path)


def test_labels_of_one_value_are_always_in_the_same_order():
    for labels in (["1", "01", "001", "0"], ["001", "0", "01", "1"]):
        assert sort_labels(labels) == ("0", "001", "01", "1")


def test_roboflows_table_of_several_classes_beside_the_images_is_read(tmp_path):
    for split in ("train", "valid"):
        rows = ["filename, cat, dog"]
        for number in range(3):
            path = tmp_path / split / f"{split}{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (32, 32), (number, 0, 0)).save(path)
            rows.append(f"{path.name}, {number % 2}, 1")
        (tmp_path / split / "_classes.csv").write_text("\r\n".join(rows), encoding="utf-8-sig")
    assert find_task(tmp_path) == "multi-label classification"
    data = read_classification(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 3, "val": 3}


def test_objects_in_json_are_no_classes(tmp_path):
    rows = ["image,label", *(f'{n}.png,"[{{""x"": {n}, ""y"": 2}}]"' for n in range(3))]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    with pytest.raises(InputError, match=r"line 2: .* is no class, but an object in JSON"):
        find_task(tmp_path / "labels.csv")
