"""The audit: bad images are found, counted and listed, and left out only as asked."""

import warnings
from pathlib import Path

import pytest
from PIL import Image
from PIL.ExifTags import Base as ExifTag

from nommer.data.audit import audit, read_images
from nommer.data.formats.folders import read_class_folders
from nommer.data.formats.image_files import upright_size
from nommer.data.images import decode
from nommer.errors import InputError


@pytest.fixture
def folders(tmp_path, write_classes):
    """3 + 3 good training images and 2 + 2 of validation."""
    write_classes(tmp_path / "train", {"blue": 3, "red": 3})
    write_classes(tmp_path / "val", {"blue": 2, "red": 2}, seed=9)
    return tmp_path


def cut(path):
    path.write_bytes(path.read_bytes()[:300])


def names(samples):
    return [sample.path.name for sample in samples]


def test_good_data_pass_unchanged_with_the_median_of_the_shorter_side(folders, digest):
    before, data = digest(folders), read_class_folders(folders)
    for policy in ("error", "auto", "skip"):
        audited = audit(data, on_bad_sample=policy)
        assert audited.data == data
        assert audited.short_side == 40
    assert digest(folders) == before


def test_bad_images_are_refused_unless_asked_otherwise(folders):
    cut(folders / "train/blue/blue-0.png")
    (folders / "val/red/red-1.png").write_text("no image")
    data = read_class_folders(folders)
    for policy, limit in (
        ("error", "none is allowed"),
        ("auto", "at most 1% is left out without being asked to"),
    ):
        with pytest.raises(InputError) as caught:
            audit(data, on_bad_sample=policy)
        message = str(caught.value)
        assert message.startswith(f"2 of 10 images cannot be read ({limit}): ")
        assert f"{folders / 'train/blue/blue-0.png'}: cannot be decoded: " in message
        assert f"{folders / 'val/red/red-1.png'}: not an image of a known format" in message
        assert message.endswith("mend or remove them, or use --on-bad-sample skip")


def test_skip_leaves_out_and_lists(folders, digest):
    cut(folders / "train/blue/blue-0.png")
    (folders / "val/red/red-1.png").write_text("no image")
    (folders / "val/red/list.txt").write_text("no image")
    before = digest(folders)
    audited = audit(read_class_folders(folders), on_bad_sample="skip").data
    assert names(audited.splits["train"]) == [
        "blue-1.png",
        "blue-2.png",
        "red-0.png",
        "red-1.png",
        "red-2.png",
    ]
    assert names(audited.splits["val"]) == ["blue-0.png", "blue-1.png", "red-0.png"]
    assert {(Path(issue.file).name, issue.done) for issue in audited.issues} == {
        ("blue-0.png", "left out"),
        ("red-1.png", "left out"),
        ("list.txt", "left out"),
    }
    assert digest(folders) == before, "the user's files stay as they are"


def test_auto_leaves_out_one_in_a_hundred(tmp_path, write_classes):
    write_classes(tmp_path, {"blue": 50, "red": 50})
    cut(tmp_path / "red/red-7.png")
    data = read_class_folders(tmp_path)
    audited = audit(data, on_bad_sample="auto").data
    assert len(audited.splits["train"]) == 99
    assert [Path(issue.file).name for issue in audited.issues] == ["red-7.png"]
    cut(tmp_path / "red/red-8.png")
    with pytest.raises(InputError, match="2 of 100 images cannot be read"):
        audit(data, on_bad_sample="auto")


def test_long_lists_of_bad_images_are_shortened(folders):
    for path in folders.rglob("*.png"):
        path.write_text("no image")
    with pytest.raises(InputError, match=r"10 of 10 images cannot be read .*; and 5 more; mend"):
        audit(read_class_folders(folders), on_bad_sample="error")


def test_a_training_class_of_which_nothing_is_left_is_refused(folders):
    for path in (folders / "train" / "red").iterdir():
        cut(path)
    data = read_class_folders(folders)
    with pytest.raises(InputError, match="no image of class 'red' can be read"):
        audit(data, on_bad_sample="skip")
    assert len(audit(data, on_bad_sample="skip", training=False).data.splits["train"]) == 3


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_of_which_nothing_is_left_is_refused(folders, split):
    for path in (folders / split).rglob("*.png"):
        cut(path)
    count = {"train": 6, "val": 4}[split]
    with pytest.raises(
        InputError,
        match=f"none of the {count} images of '{split}' can be read; first: .*blue-0.png: ",
    ):
        audit(read_class_folders(folders), on_bad_sample="skip")


@pytest.mark.filterwarnings(
    "ignore:Corrupt EXIF data:UserWarning"
)  # Pillow's word to whoever reads such a file
def test_what_is_not_used_of_a_good_image_is_listed(folders, noisy):
    pictures = [noisy((0, 0, 200), seed=seed) for seed in range(3)]
    pictures[0].save(folders / "train/blue/moving.gif", save_all=True, append_images=pictures[1:])
    pictures[0].save(folders / "train/blue/exif.webp", exif=b"Exif\0\0garbage")
    pictures[0].save(folders / "train/blue/phone.mpo", save_all=True, append_images=pictures[1:])
    audited = audit(read_class_folders(folders), on_bad_sample="error").data
    assert {(Path(issue.file).name, issue.what, issue.done) for issue in audited.issues} == {
        ("moving.gif", "3 frames or pages", "the first one is used, 2-3 not"),
        ("exif.webp", "damaged EXIF data", "taken as upright"),
    }
    assert len(audited.splits["train"]) == 9


def test_of_very_many_images_only_the_headers_are_read(folders, monkeypatch):
    cut(folders / "train/blue/blue-0.png")
    (folders / "train/blue/blue-1.png").write_text("no image")
    paths = [folders / f"train/blue/blue-{number}.png" for number in range(3)]
    monkeypatch.setattr("nommer.data.audit.DECODE_LIMIT", 2)
    reports = read_images(paths)
    assert [report.error is None for report in reports] == [True, False, True]
    monkeypatch.undo()
    assert [report.error is None for report in read_images(paths)] == [False, False, True]


def test_the_audit_leaves_pythons_filters_of_warnings_alone(tmp_path, write_classes):
    write_classes(tmp_path, {"blue": 40, "red": 40})
    before = list(warnings.filters)
    read_images(sorted(tmp_path.rglob("*.png")))
    assert warnings.filters == before
    with Image.open(tmp_path / "red" / "red-0.png") as image:
        assert image.size == (48, 40)


@pytest.mark.parametrize(
    ("value", "orientation"), [(0, 1), (1, 1), (6, 6), (8, 8), (9, 1), (65535, 1)]
)
def test_orientations_that_there_are_not_turn_nothing(tmp_path, value, orientation):
    image = Image.new("RGB", (60, 40))
    exif = image.getexif()
    exif[ExifTag.Orientation] = value
    image.save(tmp_path / "a.jpg", exif=exif)
    (report,) = read_images([tmp_path / "a.jpg"])
    assert report.orientation == orientation
    assert upright_size(tmp_path / "a.jpg") == decode(tmp_path / "a.jpg").size
