"""The task is found from the layout; what fits nothing is explained."""

import io
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nommer.data.formats.find import find_task
from nommer.errors import InputError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("files", "task"),
    [
        (["train/cat/1.jpg", "train/dog/1.jpg", "val/cat/2.jpg"], "classification"),
        (["cat/1.jpg", "dog/deep/1.jpg"], "classification"),
        (["only/1.jpg"], "classification"),
        (["train/cat/1.jpg", "train.tar"], "classification"),
        (["images/a.jpg", "masks/a.png"], "segmentation"),
        (["images/train/a.jpg", "masks/train/a.png"], "segmentation"),
        (["IMAGES/a.JPG", "Labels/deep/a.PNG"], "segmentation"),
        (["train/images/a.jpg", "train/masks/a.png"], "segmentation"),
        (["train/a.jpg", "trainannot/a.png"], "segmentation"),
        (["Train/a.jpg", "TrainAnnot/a.png"], "segmentation"),
        (["images/training/a.jpg", "annotations/training/a.png"], "segmentation"),
        (["JPEGImages/a.jpg", "Annotations/a.xml", "SegmentationClass/a.png"], "segmentation"),
        (["images/a.jpg", "annotations/all.json", "masks/a.png"], "segmentation"),
        (["Annotations/a.xml", "JPEGImages/a.jpg"], "detection"),
    ],
)
def test_the_layout_tells_the_task(tmp_path, files, task):
    assert find_task(touch(tmp_path, *files)) == task


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "found no folders of images"),
        (["a.jpg", "b.jpg"], "found no folders of images"),
        (["notes/a.txt"], "found no folders of images"),
        (["images/a.jpg"], "found the folders images, but not one of images beside one of masks"),
        (
            ["images/a.jpg", "labels/a.txt"],
            "found the folders images, labels, but not one of images beside one of masks",
        ),
        (
            ["Annotations/a.txt", "JPEGImages/a.jpg"],
            "found the folders Annotations, JPEGImages, but not one of images",
        ),
    ],
)
def test_what_fits_nothing_is_shown_the_layouts_of_all_tasks(tmp_path, files, message):
    with pytest.raises(InputError) as caught:
        find_task(touch(tmp_path, *files))
    assert message in str(caught.value)
    assert "accepted layouts for classification" in str(caught.value)
    assert "accepted layouts for semantic segmentation" in str(caught.value)
    assert "accepted layouts for object detection and instance segmentation" in str(caught.value)


def test_what_is_no_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder; accepted layouts"):
        find_task(tmp_path / "nowhere")
    with pytest.raises(InputError, match="file: not a folder; accepted layouts"):
        find_task(touch(tmp_path, "file") / "file")


def test_data_one_folder_deeper_are_pointed_out(tmp_path):
    with pytest.raises(InputError, match=r"the data lie one folder deeper; use .*CamVid$"):
        find_task(touch(tmp_path, "CamVid/train/a.jpg", "CamVid/trainannot/a.png"))
    with pytest.raises(InputError, match=r"the data lie one folder deeper; use .*BCCD$"):
        find_task(touch(tmp_path / "cells", "BCCD/JPEGImages/a.jpg", "BCCD/Annotations/a.xml"))


def test_archives_are_to_be_unpacked(tmp_path):
    root = tmp_path / "my data"
    root.mkdir()
    for name in ("train.tar", "val.tar.gz"):
        with tarfile.open(root / name, "w") as archive:
            archive.addfile(tarfile.TarInfo("train/a.jpg"), io.BytesIO())
    with zipfile.ZipFile(root / "more.ZIP", "w") as archive:
        archive.writestr("a.jpg", b"")
    (root / "README.md").touch()
    with pytest.raises(InputError) as caught:
        find_task(root)
    assert str(caught.value) == (
        f"{root}: holds archives and no folders of images; unpack them there first: "
        f"cd '{root}' && unzip more.ZIP && tar -xf train.tar && tar -xf val.tar.gz"
    )
    for number in range(4):
        (root / f"part{number}.tgz").touch()
    with pytest.raises(InputError, match=r"tar -xf part3.tgz \(and 2 more\)$"):
        find_task(root)


names = st.sampled_from(
    ["images", "masks", "train", "val", "test", "trainannot", "labels", "a", ".git", "classes.yaml"]
)
files = st.sampled_from(["1.jpg", "1.png", "1_mask.png", "train.txt", "x.tar", "é.tif"])


@given(st.lists(st.tuples(names, st.none() | names, files), max_size=8))
def test_any_tree_is_known_or_refused(tmp_path_factory, paths):
    root = tmp_path_factory.mktemp("tree")
    for first, second, file in paths:
        folder = root / first / second if second else root / first
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    try:
        found = find_task(root)
    except InputError as error:
        found = str(error)
    assert found in ("classification", "segmentation") or found.startswith(str(root))
