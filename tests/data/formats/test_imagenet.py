"""ImageNet's and Tiny ImageNet's own layouts, in folders and packed."""

import shutil
from pathlib import Path

import pytest

from nommer.data.formats.classification import read_classification
from nommer.data.formats.find import find_task
from nommer.data.images import decode
from nommer.errors import InputError

NAMES = ("red fox", "crane", "crane, machine")
"""The first of the words where no other class has it, else all of them."""


def labelled(data, split):
    return [(sample.path.name, sample.label) for sample in data.splits[split]]


def check(data):
    assert data.class_names == NAMES
    assert labelled(data, "train") == [
        (f"n0200000{n + 1}-{i}.png", n) for n in range(3) for i in range(3)
    ]
    assert labelled(data, "val") == [
        (f"n02000003-{i}.png", label) for i, label in enumerate([0, 1, 2, 0])
    ]
    for sample in data.samples():
        assert decode(sample.path).size == (48, 40)


def test_tiny_imagenet_as_it_is_unpacked(tiny_layout, digest):
    before = digest(tiny_layout)
    assert find_task(tiny_layout) == "classification"
    data = read_classification(tiny_layout)
    check(data)
    assert [(Path(i.file).name, i.what, i.done) for i in data.issues] == [
        ("test", "images without a class", "left out")
    ]
    assert digest(tiny_layout) == before


@pytest.mark.parametrize("ending", [".tar.gz", ".tar", ".zip", ".tar.xz", ".tgz", ".tar.bz2"])
def test_tiny_imagenet_packed_by_split(tiny_layout, pack, ending):
    for split in ("train", "val"):
        pack(
            tiny_layout / split,
            tiny_layout / f"{split}{ending}",
            prefix=f"tiny-imagenet-200/{split}/",
        )
        shutil.rmtree(tiny_layout / split)
    shutil.rmtree(tiny_layout / "test")
    assert find_task(tiny_layout) == "classification"
    check(read_classification(tiny_layout))


def test_tiny_imagenet_in_one_archive(tiny_layout, pack, tmp_path):
    archive = pack(tiny_layout, tmp_path / "tiny.zip", prefix="tiny-imagenet-200/")
    assert find_task(archive) == "classification"
    check(read_classification(archive))


def test_models_are_matched_by_name_or_by_wordnet_id(tiny_layout):
    ids = read_classification(tiny_layout, ("n02000003", "n02000001", "other", "n02000002"))
    assert ids.class_names == ("n02000003", "n02000001", "other", "n02000002")
    assert {(s.path.parts[-3], s.label) for s in ids.splits["train"]} == {
        ("n02000001", 1),
        ("n02000002", 3),
        ("n02000003", 0),
    }
    named = read_classification(tiny_layout, NAMES[::-1])
    assert {s.label for s in named.splits["train"] if s.path.parts[-3] == "n02000001"} == {2}
    with pytest.raises(
        InputError,
        match=r"class crane, machine is not among the model's classes; .* expected 2: red fox",
    ):
        read_classification(tiny_layout, NAMES[:2])


def test_without_words_the_ids_are_the_names(tiny_layout):
    (tiny_layout / "words.txt").unlink()
    assert read_classification(tiny_layout).class_names == ("n02000001", "n02000002", "n02000003")


def test_validation_images_that_the_list_lacks_are_left_out_and_missing_ones_are_for_the_audit(
    tiny_layout,
):
    annotations = tiny_layout / "val" / "val_annotations.txt"
    lines = annotations.read_text().splitlines()
    annotations.write_text("\n".join(["gone.png\tn02000001\t0\t0\t9\t9", *lines[1:]]))
    data = read_classification(tiny_layout)
    assert ("n02000003-0.png", "is not in val_annotations.txt") in {
        (Path(i.file).name, i.what) for i in data.issues
    }
    assert labelled(data, "val")[0] == ("gone.png", 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("n02000003-0.png\tn02000002", "is of class 'crane', but of 'red fox' in "),
        (
            "n02000003-9.png\tn09999999",
            "class n09999999 is not among wnids.txt's classes; found 4: n0",
        ),
        ("n02000003-9.png", "line 5 holds no class; expected the name of an image and its class"),
    ],
)
def test_mistakes_in_the_list(tiny_layout, line, message):
    with (tiny_layout / "val" / "val_annotations.txt").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError) as caught:
        read_classification(tiny_layout)
    assert message in str(caught.value)
    assert "val_annotations.txt" in str(caught.value)


def test_a_class_without_training_images_is_refused(tiny_layout):
    shutil.rmtree(tiny_layout / "train" / "n02000002")
    with pytest.raises(InputError, match="no training images of 1 classes: n02000002"):
        read_classification(tiny_layout)


@pytest.fixture
def imagenet(tmp_path, write_classes):
    """ImageNet as Kaggle has it, in miniature."""
    root = tmp_path / "imagenet"
    inner = root / "ILSVRC" / "Data" / "CLS-LOC"
    write_classes(inner / "train", {"n02000001": 2, "n02000002": 2})
    write_classes(inner, {"val": 3, "test": 1}, seed=20)
    (root / "LOC_synset_mapping.txt").write_text(
        "n02000001 red fox, Vulpes vulpes\nn02000002 crane\n"
    )
    rows = [
        "ImageId,PredictionString",
        "val-0.png,n02000002 1 2 3 4 ",
        "val-2.png,n02000001 1 2 3 4 n02000001 5 6 7 8 ",
    ]
    (root / "LOC_val_solution.csv").write_text("\n".join([*rows, "val-1,n02000002 1 2 3 4"]))
    (inner / "val" / "val-1.png").rename(inner / "val" / "val-1.JPEG")
    return root


def test_imagenet_as_on_kaggle(imagenet):
    assert find_task(imagenet) == "classification"
    data = read_classification(imagenet)
    assert data.class_names == ("red fox", "crane")
    assert sorted(labelled(data, "val")) == [("val-0.png", 1), ("val-1.JPEG", 1), ("val-2.png", 0)]
    assert len(data.splits["train"]) == 4
    assert "test" not in data.splits


def test_imagenet_with_validation_folders_and_the_list_of_names(imagenet):
    for name in ("train", "val"):
        shutil.move(imagenet / "ILSVRC" / "Data" / "CLS-LOC" / name, imagenet / name)
    shutil.rmtree(imagenet / "ILSVRC")
    (imagenet / "LOC_val_solution.csv").unlink()
    with pytest.raises(
        InputError,
        match=r"val: found no folders of classes, and no LOC_val_solution.csv or val_ann",
    ):
        read_classification(imagenet)
    (imagenet / "val" / "n02000002").mkdir()
    for path in (imagenet / "val").glob("val-*"):
        path.rename(imagenet / "val" / "n02000002" / path.name)
    data = read_classification(imagenet)
    assert data.class_names == ("red fox", "crane")
    assert {label for _, label in labelled(data, "val")} == {1}


@pytest.mark.slow
def test_the_real_tiny_imagenet_is_read_packed(shared_data):
    data = read_classification(shared_data / "tiny_imagenet_200")
    assert {split: len(samples) for split, samples in data.splits.items()} == {
        "train": 100_000,
        "val": 10_000,
    }
    assert len(data.class_names) == 200
    assert data.class_names[:2] == ("goldfish", "European fire salamander")
    assert data.issues == ()
    assert decode(data.splits["val"][7].path).size == (64, 64)


def test_classes_of_the_same_words_are_told_apart_by_their_ids(tiny_layout):
    (tiny_layout / "words.txt").write_text("n02000001\tmaillot\nn02000002\tmaillot\n")
    assert read_classification(tiny_layout).class_names == (
        "maillot (n02000001)",
        "maillot (n02000002)",
        "n02000003",
    )


def test_images_beside_the_class_folders_are_listed(tiny_layout):
    (tiny_layout / "train" / "images").mkdir()
    for name in ("stray.png", "images/deep.png"):
        shutil.copy(tiny_layout / "val/images/n02000003-0.png", tiny_layout / "train" / name)
    data = read_classification(tiny_layout)
    check(data)
    found = {
        (Path(i.file).name, i.done) for i in data.issues if i.what == "lies in no class folder"
    }
    assert found == {("stray.png", "left out"), ("deep.png", "left out")}
