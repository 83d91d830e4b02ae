"""The audit of masks: every bad pair is found, named and left out only as asked.

What is odd but usable is listed.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nommer.data.findings import find_leaks
from nommer.data.formats.masks import read_mask_folders
from nommer.data.mask_audit import audit_masks
from nommer.data.masks import IGNORE
from nommer.errors import InputError


def names(samples):
    return [sample.path.stem for sample in samples]


def issues_of(data):
    return {(Path(issue.file).name, issue.what, issue.done) for issue in data.issues}


def save(values, path, **options):
    Image.fromarray(np.asarray(values)).save(path, **options)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_good_data_pass_unchanged_with_what_the_audit_learned(masked, digest):
    before, data = digest(masked), read_mask_folders(masked)
    for policy in ("error", "auto", "skip"):
        for training in (True, False):
            audited = audit_masks(data, on_bad_sample=policy, training=training)
            assert audited.data == data
            assert audited.short_side == 32
    labels = [np.asarray(Image.open(sample.mask)) for sample in data.splits["train"]]
    assert (
        audited.class_counts.tolist() == np.bincount(np.stack(labels).ravel(), minlength=3).tolist()
    )
    assert audited.class_counts.dtype == np.int64
    assert digest(masked) == before


def test_the_same_image_is_found_in_two_splits_though_its_mask_differs(masked):
    (masked / "images/val/6.png").write_bytes((masked / "images/train/0.png").read_bytes())
    audited = audit_masks(read_mask_folders(masked))
    leaks = find_leaks(audited.data, audited.digests)
    assert [issue.file for issue in leaks] == [str(masked / "images/val/6.png")]


def test_classes_are_counted_in_all_splits_where_none_is_for_training(masked):
    (masked / "images" / "train").rename(masked / "images" / "test")
    (masked / "masks" / "train").rename(masked / "masks" / "test")
    data = read_mask_folders(masked, class_names=("class 0", "class 1", "class 2"))
    assert audit_masks(data, training=False).class_counts.sum() == 9 * 40 * 32


def spoil_image(root):
    path = root / "images/train/0.png"
    path.write_bytes(path.read_bytes()[:90])


def spoil_mask(root):
    (root / "masks/train/0.png").write_text("no image")


def resize(root):
    save(np.zeros((32, 41), np.uint8), root / "masks/train/0.png")


def turn(root):
    with Image.open(root / "images/train/0.png") as image:
        image.save(root / "images/train/0.png", exif=turned(6))


def unknown(root):
    save(np.full((32, 40), 77, np.uint8), root / "masks/train/0.png")


def lossy(root):
    save(np.zeros((32, 40), np.uint8), root / "masks/train/0.jpg")
    (root / "masks/train/0.png").unlink()


BAD = {
    "image cut": (spoil_image, "cannot be decoded: "),
    "mask unreadable": (spoil_mask, "its mask {mask}: not an image of a known format"),
    "mask missing": (
        lambda root: (root / "masks/train/0.png").unlink(),
        "has no mask: expected {mask} (or with _mask, _",
    ),
    "other size": (
        resize,
        "its mask {mask}: is 41 x 32 pixels, its image 40 x 32; both must be the same",
    ),
    "only the image is turned": (
        turn,
        "its mask {mask}: is 40 x 32 pixels, its image 32 x 40; both must be the same; it fits the "
        "image as stored, "
        "which the EXIF orientation 6 turns: turn the mask too, or remove the orientation from the "
        "image",
    ),
    "unknown values": (
        unknown,
        "its mask {mask}: value 77 (1,280 pixels) of no class; expected 0-2, or 255 to be igno",
    ),
    "jpeg mask": (lossy, "its mask {mask}: is a JPEG, whose compression changes the values"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD.keys())
def test_bad_pairs_are_refused_or_left_out_as_asked(masked, digest, spoil, message):
    (masked / "classes.yaml").write_text("names: [a, b, c]")
    spoil(masked)
    before, data = digest(masked), read_mask_folders(masked)
    image, mask = masked / "images/train/0.png", data.splits["train"][0].mask
    message = message.format(mask=mask)
    for policy, limit in (
        ("error", "none is allowed"),
        ("auto", "at most 1% is left out without being asked to"),
    ):
        with pytest.raises(InputError) as caught:
            audit_masks(data, on_bad_sample=policy)
        assert str(caught.value).startswith(
            f"1 of 9 images cannot be used ({limit}): {image}: {message}"
        )
        assert str(caught.value).endswith("; mend or remove them, or use --on-bad-sample skip")
    audited = audit_masks(data, on_bad_sample="skip").data
    assert names(audited.splits["train"]) == ["1", "2", "3", "4", "5"]
    assert names(audited.splits["val"]) == ["6", "7", "8"]
    (issue,) = audited.issues
    assert issue.file == str(image), "the image's path, by which a run knows it again"
    assert issue.what.startswith(message)
    assert issue.done == "left out"
    assert digest(masked) == before, "the user's files stay as they are"


def test_auto_leaves_out_one_in_a_hundred(tmp_path, write_layout):
    write_layout(tmp_path, [(f"images/{n}.png", f"masks/{n}.png") for n in range(100)])
    spoiled = tmp_path / "masks" / "7.png"
    spoiled.unlink()
    audited = audit_masks(read_mask_folders(tmp_path)).data
    assert len(audited.splits["train"]) == 99
    assert audited.left_out == 1
    (tmp_path / "masks" / "8.png").unlink()
    with pytest.raises(InputError, match="2 of 100 images cannot be used"):
        audit_masks(read_mask_folders(tmp_path))


def test_a_split_of_which_nothing_is_left_is_refused(masked):
    for path in (masked / "masks" / "val").iterdir():
        path.write_text("no image")
    with pytest.raises(
        InputError,
        match=r"none of the 3 images of 'val' can be used; first: .*6.png: its mask .*6.png",
    ):
        audit_masks(read_mask_folders(masked), on_bad_sample="skip")


def test_what_is_odd_but_usable_is_listed(masked):
    with (
        Image.open(masked / "images/train/0.png") as image,
        Image.open(masked / "masks/train/0.png") as mask,
    ):
        image.transpose(Image.Transpose.ROTATE_90).save(
            masked / "images/train/0.png", exif=turned(6)
        )
        wide = np.asarray(mask).astype(np.uint16)
        save(wide, masked / "masks/train/0.png")
    with Image.open(masked / "images/train/1.png") as image:
        image.save(masked / "images/train/1.png", exif=turned(3))
    pages = [Image.fromarray(np.full((32, 40), n, np.uint8)) for n in (0, 1)]
    (masked / "masks/train/2.png").unlink()
    pages[0].save(masked / "masks/train/2.tif", save_all=True, append_images=pages[1:])
    audited = audit_masks(read_mask_folders(masked), on_bad_sample="error").data
    assert len(audited.samples()) == 9
    assert issues_of(audited) == {
        ("0.png", "EXIF orientation 6", "turned; its mask is taken to fit the turned image"),
        ("0.png", "16-bit mask", "its values are used as they are"),
        ("1.png", "EXIF orientation 3", "turned; its mask is taken to fit the turned image"),
        ("2.tif", "2 frames or pages", "the first one is used, 2 not"),
    }
    assert audited.left_out == 0


def test_masks_of_nothing_leave_training_but_not_evaluation(masked):
    for path in (masked / "masks/train/2.png", masked / "masks/val/6.png"):
        save(np.full((32, 40), 255, np.uint8), path)
    data = read_mask_folders(masked)
    audited = audit_masks(data, on_bad_sample="error").data
    assert names(audited.splits["train"]) == ["0", "1", "3", "4", "5"]
    assert names(audited.splits["val"]) == ["6", "7", "8"]
    assert issues_of(audited) == {
        ("2.png", "every pixel of its mask is ignored", "left out"),
        ("6.png", "every pixel of its mask is ignored", "used; counts for nothing"),
    }
    evaluated = audit_masks(data, on_bad_sample="error", training=False).data
    assert len(evaluated.splits["train"]) == 6
    assert evaluated.left_out == 0
    assert ("2.png", "every pixel of its mask is ignored", "used; counts for nothing") in issues_of(
        evaluated
    )


def test_classes_that_never_occur_are_one_line(masked):
    (masked / "classes.yaml").write_text("names: [a, b, c, d, e]")
    audited = audit_masks(read_mask_folders(masked), on_bad_sample="error")
    assert audited.class_counts[3:].tolist() == [0, 0]
    assert issues_of(audited.data) == {
        ("masked", "2 of 5 classes do not occur in the masks: d, e", "kept")
    }


def test_training_needs_two_classes(masked):
    (masked / "classes.yaml").write_text("names: [a, b, c]")
    for path in masked.glob("masks/train/*.png"):
        save(np.full((32, 40), 1, np.uint8), path)
    with pytest.raises(
        InputError,
        match="nothing but 'b' in the training masks; label pixels of at least two classes",
    ):
        audit_masks(read_mask_folders(masked))
    assert len(audit_masks(read_mask_folders(masked), training=False).data.samples()) == 9
    for path in masked.glob("masks/train/*.png"):
        save(np.full((32, 40), IGNORE, np.uint8), path)
    with pytest.raises(InputError, match="no labelled pixel in the training masks; "):
        audit_masks(read_mask_folders(masked))


def test_binaries_under_class_names_alone_are_explained(masked):
    (masked / "classes.yaml").write_text("classes: [background, crack]")
    for path in masked.glob("masks/*/*.png"):
        save(np.repeat(np.array([[0, 255]], np.uint8), 32, 0).repeat(20, 1), path)
    with pytest.raises(InputError) as caught:
        audit_masks(read_mask_folders(masked))
    assert (
        "nothing but 'background' in the training masks; 255 usually marks one class of two"
        in str(caught.value)
    )
    (masked / "classes.yaml").write_text(
        "classes: [{name: background, value: 0}, {name: crack, value: 255}]"
    )
    assert audit_masks(read_mask_folders(masked)).class_counts.tolist() == [6 * 640, 6 * 640]

    for path in masked.glob("masks/val/*.png"):
        save(np.repeat(np.array([[0, 255]], np.uint8), 32, 0).repeat(20, 1), path)
    (masked / "classes.yaml").write_text("classes: [background, crack]")
    data = read_mask_folders(masked)
    evaluated = replace(data, splits={"val": data.splits["val"]})
    with pytest.raises(InputError) as caught:
        audit_masks(evaluated, training=False)
    assert (
        "nothing but 'background' in the masks to evaluate on; 255 usually marks one class of two"
        in str(caught.value)
    )
    assert str(caught.value).endswith(
        "or, if 255 is to be ignored, one that says so with ignore: 255"
    )
    (masked / "classes.yaml").write_text("classes: [background, crack]\nignore: 255")
    data = read_mask_folders(masked)
    evaluated = replace(data, splits={"val": data.splits["val"]})
    assert audit_masks(evaluated, training=False).class_counts.tolist() == [3 * 640, 0]


@pytest.mark.parametrize("training", [True, False])
def test_without_a_labelled_pixel_nothing_can_be_evaluated(masked, training):
    (masked / "classes.yaml").write_text("classes: [a, b, c]\nignore: 255")
    for path in masked.glob("masks/val/*.png"):
        save(np.full((32, 40), IGNORE, np.uint8), path)
    data = read_mask_folders(masked)
    evaluated = data if training else replace(data, splits={"val": data.splits["val"]})
    with pytest.raises(InputError) as caught:
        audit_masks(evaluated, training=training)
    hint = "label some of their pixels, or correct the class file"
    assert str(caught.value) == f"{masked}: no labelled pixel in the masks to evaluate on; {hint}"
    assert audit_masks(data, training=False).data.samples(), (
        "of all that is evaluated together, some is labelled"
    )


def test_of_very_many_images_only_the_headers_are_read_but_masks_whole(masked, monkeypatch):
    spoil_image(masked)
    (masked / "classes.yaml").write_text("names: [a, b, c]")
    save(np.full((32, 40), 77, np.uint8), masked / "masks/train/1.png")
    monkeypatch.setattr("nommer.data.audit.DECODE_LIMIT", 2)
    audited = audit_masks(read_mask_folders(masked), on_bad_sample="skip").data
    assert names(audited.splits["train"]) == ["0", "2", "3", "4", "5"]
