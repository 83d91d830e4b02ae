"""Class folders: what is found, what is refused, and how it is split."""

import csv
import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nommer.data.formats.folders import ClassFolders, Sample, read_class_folders, split_stratified
from nommer.data.formats.labelled import read_split, split_as_csv
from nommer.errors import InputError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(data, split):
    return [
        (s.path.relative_to(data.root).as_posix(), data.class_names[s.label])
        for s in data.splits[split]
    ]


@pytest.mark.parametrize("train", ["train", "training"])
@pytest.mark.parametrize("val", ["val", "valid", "validation", "test", "testing"])
def test_train_and_val_folders_by_any_usual_name(tmp_path, train, val):
    touch(tmp_path, f"{train}/b/1.jpg", f"{train}/a/2.png", f"{val}/a/3.jpg")
    data = read_class_folders(tmp_path)
    assert data.class_names == ("a", "b")
    assert listed(data, "train") == [(f"{train}/a/2.png", "a"), (f"{train}/b/1.jpg", "b")]
    assert listed(data, "val") == [(f"{val}/a/3.jpg", "a")]
    assert data.issues == ()


def test_a_test_folder_beside_val_stays_test(tmp_path):
    touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "test/b/3.jpg")
    data = read_class_folders(tmp_path)
    assert listed(data, "test") == [("test/b/3.jpg", "b")]
    assert len(data.samples()) == 4


def test_class_folders_alone_are_all_for_training(tmp_path):
    data = read_class_folders(touch(tmp_path, "b/1.jpg", "a/1.jpg", "a/2.jpg"))
    assert set(data.splits) == {"train"}
    assert listed(data, "train") == [("a/1.jpg", "a"), ("a/2.jpg", "a"), ("b/1.jpg", "b")]


def test_class_folders_may_be_links_or_hold_some(tmp_path):
    touch(tmp_path, "elsewhere/1.jpg", "elsewhere/deep/2.jpg", "data/a/3.jpg")
    for link in ("data/b", "data/a/more"):
        (tmp_path / link).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/a/back").symlink_to(tmp_path / "data")
    assert listed(read_class_folders(tmp_path / "data"), "train") == [
        ("a/3.jpg", "a"),
        ("a/more/1.jpg", "a"),
        ("a/more/deep/2.jpg", "a"),
        ("b/1.jpg", "b"),
        ("b/deep/2.jpg", "b"),
    ]


def test_class_folders_are_searched_deeply_but_hidden_things_are_not_seen(tmp_path):
    touch(
        tmp_path,
        "a/deep/er/1.jpg",
        "a/._2.jpg",
        "a/.ipynb_checkpoints/3.jpg",
        ".git/4.jpg",
        "b/5.jpg",
        "b/.DS_Store",
    )
    data = read_class_folders(tmp_path)
    assert listed(data, "train") == [("a/deep/er/1.jpg", "a"), ("b/5.jpg", "b")]
    assert [(issue.file, issue.severity) for issue in data.issues] == [
        (str(tmp_path / ".git"), "problem"),
        (str(tmp_path / "a/.ipynb_checkpoints"), "note"),
    ]


def test_what_is_left_out_is_listed(tmp_path):
    touch(
        tmp_path,
        "train/a/1.jpg",
        "train/b/1.jpg",
        "train/a/notes.txt",
        "train/stray.png",
        "val/a/Thumbs.db",
    )
    touch(tmp_path, "val/a/1.jpg")
    found = {
        (Path(issue.file).name, issue.what, issue.done)
        for issue in read_class_folders(tmp_path).issues
    }
    assert found == {
        ("notes.txt", "file name does not end as an image's", "left out"),
        ("Thumbs.db", "file name does not end as an image's", "left out"),
        ("stray.png", "lies in no class folder", "left out"),
    }


def test_images_of_a_kind_that_is_not_read_are_told_from_other_files(tmp_path):
    data = read_class_folders(touch(tmp_path, "a/1.jpg", "a/2.HEIC", "b/1.jpg", "b/notes.txt"))
    assert [(Path(issue.file).name, issue.what, issue.done) for issue in data.issues] == [
        ("2.HEIC", ".heic images are not read", "left out; convert to JPEG or PNG"),
        ("notes.txt", "file name does not end as an image's", "left out"),
    ]
    assert data.left_out == 2


def test_unicode_and_spaces_in_names(tmp_path):
    touch(tmp_path, "schöne Käfer/ein Käfer.jpg", "猫/1 (2).jpg")
    assert read_class_folders(tmp_path).class_names == ("schöne Käfer", "猫")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "found no class folders, expected at least two"),
        (["1.jpg", "2.jpg"], "found no class folders, expected at least two"),
        (["a/1.jpg"], "found one class folder, 'a', expected at least two"),
        (["train/a/1.jpg", "val/a/1.jpg"], "found one class folder, 'a', expected at least two"),
        (["a/1.jpg", "b/readme.txt"], "b: this class folder holds no images"),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/readme.txt"],
            "val: no images in the class folders of this split",
        ),
        (["images/1.jpg", "masks/1.png"], "images, masks look like detection or segmentation data"),
        (["JPEGImages/1.jpg", "Annotations/1.xml"], "look like detection or segmentation data"),
        (["images/train/1.jpg", "labels/train/1.txt"], "look like detection or segmentation data"),
    ],
)
def test_refuses_what_is_no_classification_data(tmp_path, files, message):
    with pytest.raises(InputError) as caught:
        read_class_folders(touch(tmp_path, *files))
    assert message in str(caught.value)
    if "holds no images" not in message:
        assert "DATA/train/CLASS/*.jpg" in str(caught.value), "the accepted layouts are shown"


def test_refuses_what_is_no_folder(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder; accepted layouts"):
        read_class_folders(tmp_path / "nowhere")
    with pytest.raises(InputError, match="file: not a folder; accepted layouts"):
        read_class_folders(touch(tmp_path, "file") / "file")


def test_a_class_in_val_that_train_lacks_is_an_error_with_both_sides(tmp_path):
    touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/c/1.jpg")
    with pytest.raises(InputError) as caught:
        read_class_folders(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'val'}: class c is not among the training classes; found 2: a, c; expected "
        "2: a, b"
    )


def test_classes_of_a_model_are_matched_by_name(tmp_path):
    touch(tmp_path, "b/1.jpg", "a/1.jpg")
    data = read_class_folders(tmp_path, ("c", "b", "a"))
    assert listed(data, "train") == [("b/1.jpg", "b"), ("a/1.jpg", "a")]
    assert [sample.label for sample in data.samples()] == [1, 2]
    with pytest.raises(
        InputError,
        match=r"class b is not among the model's classes; found 2: a, b; expected 2: a, z",
    ):
        read_class_folders(tmp_path, ("a", "z"))


def test_long_lists_of_classes_are_shortened(tmp_path):
    touch(tmp_path, *(f"class{number:02}/1.jpg" for number in range(30)))
    with pytest.raises(InputError, match=r"class19, \.\.\. 30 in all; expected 1: x"):
        read_class_folders(tmp_path, ("x",))


def in_memory(sizes):
    root = Path("/data")
    samples = tuple(
        Sample(root / f"class{label}" / f"{number}.jpg", label)
        for label, n in enumerate(sizes)
        for number in range(n)
    )
    return ClassFolders(
        root, tuple(f"class{label}" for label in range(len(sizes))), {"train": samples}
    )


class TestSplitStratified:
    @given(
        sizes=st.lists(st.integers(1, 60), min_size=2, max_size=8).filter(
            lambda sizes: max(sizes) > 1
        ),
        fraction=st.floats(0.01, 0.99),
        seed=st.integers(0, 2**31),
    )
    def test_parts_are_disjoint_complete_and_hold_every_class(self, sizes, fraction, seed):
        data = in_memory(sizes)
        split = split_stratified(data, fraction=fraction, seed=seed)
        train, val = split.splits["train"], split.splits["val"]
        assert sorted(train + val, key=str) == sorted(data.splits["train"], key=str)
        assert not set(train) & set(val)
        in_train, in_val = Counter(s.label for s in train), Counter(s.label for s in val)
        for label, size in enumerate(sizes):
            assert in_train[label] >= 1
            assert in_val[label] >= (1 if size > 1 else 0)
            assert abs(in_val[label] - fraction * size) <= 1 + (size == 1)

    @given(st.integers(0, 1000))
    def test_the_same_seed_gives_the_same_split_in_whatever_order_files_are_listed(self, seed):
        data = in_memory([7, 9])
        backwards = ClassFolders(data.root, data.class_names, {"train": data.splits["train"][::-1]})
        first = split_stratified(data, fraction=0.3, seed=seed)
        second = split_stratified(backwards, fraction=0.3, seed=seed)
        assert set(first.splits["val"]) == set(second.splits["val"])

    def test_another_seed_gives_another_split(self):
        splits = {
            split_stratified(in_memory([40, 40]), fraction=0.2, seed=s).splits["val"]
            for s in range(5)
        }
        assert len(splits) == 5

    def test_the_choice_does_not_depend_on_where_the_data_lies(self):
        here = in_memory([9, 9])
        moved = tuple(
            Sample(Path("/elsewhere") / s.path.relative_to(here.root), s.label)
            for s in here.splits["train"]
        )
        there = ClassFolders(Path("/elsewhere"), here.class_names, {"train": moved})
        names = [
            {
                s.path.relative_to(data.root)
                for s in split_stratified(data, fraction=0.3, seed=1).splits["val"]
            }
            for data in (here, there)
        ]
        assert names[0] == names[1]

    def test_classes_of_one_image_each_cannot_be_split(self):
        with pytest.raises(InputError, match="no class has two images"):
            split_stratified(in_memory([1, 1]), fraction=0.2, seed=0)


def test_a_written_split_is_read_back_as_it_was(tmp_path):
    names = [
        "a/1.jpg",
        "a/with, comma.jpg",
        'a/"quoted".jpg',
        "b/ü 猫.jpg",
        "b/3.jpg",
        "b/\udce9.jpg",
    ]
    touch(tmp_path, *names)
    data = split_stratified(read_class_folders(tmp_path), fraction=0.4, seed=3)
    (tmp_path / "split.csv").write_bytes(split_as_csv(data).encode(errors="surrogateescape"))
    read = read_split(tmp_path, tmp_path / "split.csv")
    assert read == {
        split: {sample.path for sample in samples} for split, samples in data.splits.items()
    }
    rows = list(csv.DictReader(io.StringIO(split_as_csv(data))))
    assert {row["file"]: row["class"] for row in rows} == {name: name[0] for name in names}


def test_split_folders_are_known_by_any_case(write_classes, tmp_path):
    write_classes(tmp_path / "Train", {"blue": 2, "red": 2})
    write_classes(tmp_path / "VAL", {"blue": 1, "red": 1})
    data = read_class_folders(tmp_path)
    assert data.class_names == ("blue", "red")
    assert {split: len(samples) for split, samples in data.splits.items()} == {"train": 4, "val": 2}


def test_splits_that_do_not_fit_are_refused(write_classes, tmp_path):
    write_classes(tmp_path / "flat" / "train", {"blue": 2, "red": 2})
    write_classes(tmp_path / "flat", {"val": 3})
    with pytest.raises(InputError, match="val: holds images but no class folders"):
        read_class_folders(tmp_path / "flat")
    write_classes(tmp_path / "all flat", {"train": 3, "valid": 2})
    with pytest.raises(
        InputError,
        match="train: holds images but no class folders, as the other splits do not either",
    ):
        read_class_folders(tmp_path / "all flat")
    for name in ("train", "val", "valid"):
        write_classes(tmp_path / "two" / name, {"blue": 2, "red": 2})
    with pytest.raises(InputError, match="both val and valid hold val images"):
        read_class_folders(tmp_path / "two")
    for name in ("val", "test"):
        write_classes(tmp_path / "untrained" / name, {"blue": 2, "red": 2})
    with pytest.raises(InputError, match="holds test, val but no train folder"):
        read_class_folders(tmp_path / "untrained")


def test_a_class_may_be_called_like_a_split_beside_others(write_classes, tmp_path):
    write_classes(tmp_path, {"bus": 2, "car": 2, "train": 2})
    assert read_class_folders(tmp_path).class_names == ("bus", "car", "train")


def test_what_lies_beside_the_splits_is_listed(write_classes, tmp_path):
    for name in ("train", "val"):
        write_classes(tmp_path / name, {"blue": 2, "red": 2})
    write_classes(tmp_path, {"green": 1})
    issues = read_class_folders(tmp_path).issues
    assert [(issue.file, issue.what, issue.done) for issue in issues] == [
        (str(tmp_path / "green"), "lies beside the split folders", "left out")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "file,sp\na.png,train\n",
        "fil,split\na.png,train\n",
        "file,split\na.png,trein\n",
        'file,split\n"a\n',
    ],
)
def test_a_damaged_list_of_splits_is_refused(tmp_path, text):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(InputError, match=r"split\.csv: is damaged in line 2"):
        read_split(tmp_path, tmp_path / "split.csv")
