"""Images that files call those of "val" or "test", whatever their labels."""

import json
import zipfile
from pathlib import Path

import pytest

from nommer.data.formats.split_lists import splits_listed
from nommer.data.image_paths import is_image_name, visible_files
from nommer.errors import InputError

VOC = {"ImageSets/Main/test.txt": "b\n", "ImageSets/Main/val.txt": "c\n\n"}
IMAGES = ("JPEGImages/a.jpg", "JPEGImages/b.jpg", "JPEGImages/c.jpg")


def written(root, images, texts):
    """Write empty images and files of text."""
    for name in images:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def listed(root):
    """Return the split of every image that a file names, by its path below a place."""
    files = visible_files(root)
    folders = {
        path: next((s for s in ("test", "val") if s in path.relative_to(root).parts), "train")
        for path in files
        if is_image_name(path)
    }
    found = splits_listed(root, files, folders)
    return {path.relative_to(root).as_posix(): one.split for path, one in found.items()}


COCO = {"images": [{"id": 1, "file_name": "b.jpg"}, {"id": 2, "file_name": "sub/c.jpg"}]}


@pytest.mark.parametrize(
    ("images", "texts", "expected"),
    [
        (IMAGES, VOC, {IMAGES[1]: "test", IMAGES[2]: "val"}),
        (IMAGES, {"ImageSets/Main/train.txt": "a\nb\nc\n"}, {}),
        (IMAGES, {"ImageSets/Main/dog_test.txt": "b 1\n"}, {}),
        (IMAGES, VOC | {"val.txt": "b.jpg x.png\n"}, {IMAGES[1]: "test", IMAGES[2]: "val"}),
        (IMAGES, {"splits/val.txt": "data/JPEGImages/c.jpg\n"}, {IMAGES[2]: "val"}),
        (IMAGES, {"test.csv": "image,label\nJPEGImages/b.jpg,cat\n"}, {IMAGES[1]: "test"}),
        (IMAGES, {"t.csv": "path,label,split\nb.jpg,cat,valid\n"}, {IMAGES[1]: "val"}),
        (IMAGES, {"t.tsv": "split\tfile\ntest\tb.jpg\ntrain\ta.jpg\n"}, {IMAGES[1]: "test"}),
        (IMAGES, {"t.csv": "path,label\nb.jpg,test\n"}, {}),
        (
            ("images/b.jpg", "images/sub/c.jpg", "images/a.jpg"),
            {"annotations/instances_val2017.json": json.dumps(COCO)},
            {"images/b.jpg": "val", "images/sub/c.jpg": "val"},
        ),
        (
            ("val/b.jpg", "train/b.jpg", "train/sub/c.jpg"),
            {"annotations/instances_val2017.json": json.dumps(COCO)},
            {"val/b.jpg": "val", "train/sub/c.jpg": "val"},
        ),
        (
            ("one/a.jpg", "two/b.jpg", "two/c.jpg"),
            {"data.yaml": "train: one\nval: ../two\nnames: [x]\n"},
            {"two/b.jpg": "val", "two/c.jpg": "val"},
        ),
        (
            ("one/a.jpg", "one/b.jpg"),
            {"data.yaml": "train: one\nval: one\nnames: [x]\n"},
            {},
        ),
        (
            ("one/a.jpg", "one/b.jpg"),
            {
                "data.yaml": "train: fit.txt\nval: check.txt\nnames: [x]\n",
                "fit.txt": "one/a.jpg",
                "check.txt": "./one/b.jpg\n",
            },
            {"one/b.jpg": "val"},
        ),
        (("1/0.png", "1/test.png"), {"1/test.txt": "0 0.5 0.5 0.1 0.1\n"}, {}),
        (("a/1.png", "b/1.png"), {"test.txt": "b/1.png\n"}, {"b/1.png": "test"}),
        (("a/1.png", "b/1.png"), {"test.txt": "1"}, {"a/1.png": "test", "b/1.png": "test"}),
        (("x/my cat.png",), {"test.txt": "my cat\n"}, {"x/my cat.png": "test"}),
        (("one/a.png", "two/b.png"), {"one/test.txt": "b\n"}, {}),
    ],
)  # fmt: skip
def test_images_are_of_the_split_that_files_say(tmp_path, images, texts, expected):
    assert listed(written(tmp_path, images, texts)) == expected


def test_data_sets_may_lie_deeper_and_in_archives(tmp_path):
    written(tmp_path / "deep" / "voc", IMAGES, VOC)
    with zipfile.ZipFile(tmp_path / "voc.zip", "w") as archive:
        for name, text in (dict.fromkeys(IMAGES, "") | VOC).items():
            archive.writestr(name, text)
    assert listed(tmp_path) == {f"deep/voc/{IMAGES[1]}": "test", f"deep/voc/{IMAGES[2]}": "val"}
    assert listed(tmp_path / "voc.zip") == {IMAGES[1]: "test", IMAGES[2]: "val"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("instances_val.json", "{", "is called as a description of a split, and cannot be read"),
        ("data.yaml", "train: [\nnames: {", "is called as a description of a split, and cannot"),
        ("data.yaml", "train: a\nval: gone.txt\nnames: [x]", "names the list gone.txt, which"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message) as refused:
        listed(written(tmp_path, IMAGES, {name: text}))
    assert str(refused.value).startswith(str(tmp_path / name))


def test_a_list_that_may_not_be_read_is_refused(tmp_path):
    written(tmp_path, IMAGES, {})
    (tmp_path / "test.txt").symlink_to(Path("nowhere"))
    with pytest.raises(InputError, match=r"test\.txt: is called as a list of a split, and cannot"):
        listed(tmp_path)
