"""Usual folders of images and masks, of whatever tool, are segmentation and never classes."""

import shutil

import numpy as np
import pytest
from PIL import Image

from nommer.data.formats.find import find_task
from nommer.data.formats.mask_layouts import find_layout
from nommer.data.formats.mask_pairs import pair_parts
from nommer.data.formats.masks import read_mask_folders
from nommer.data.formats.source import Source
from nommer.errors import InputError
from nommer.settings.labels import LabelOptions


@pytest.fixture
def move(masked):
    """The images and masks of `masked`, flat, in folders of these names."""

    def move(images, masks, root=None):
        base = root or masked.parent / "moved"
        for source, target in (("images", images), ("masks", masks)):
            for split in ("train", "val"):
                folder = base / target.format(split=split)
                folder.mkdir(parents=True, exist_ok=True)
                for path in (masked / source / split).iterdir():
                    shutil.copy(path, folder / path.name)
        return base

    return move


def told(data):
    return [(issue.what, issue.severity) for issue in data.issues]


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("imgs", "masks"),
        ("img", "mask"),
        ("image", "label"),
        ("Images", "Labels_png"),
        ("images", "gt"),
        ("img_dir", "ann_dir"),
        ("JPEGImages", "SegmentationClassAug"),
        ("JPEGImages", "SegmentationClassPNG"),
        ("images", "ground-truth"),
    ],
)
def test_folders_are_called_in_many_ways(move, images, masks):
    root = move(images, masks)
    assert find_task(root) == "segmentation"
    data = read_mask_folders(root)
    assert len(data.splits["train"]) == 9
    assert not data.issues


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{split}/image", "{split}/label"),
        ("img_dir/{split}", "ann_dir/{split}"),
        ("{split}", "{split}_masks"),
        ("{split}", "{split}annot"),
        ("{split}_images", "{split}_labels"),
        ("images_{split}", "masks_{split}"),
    ],
)
def test_splits_stand_in_names_and_folders(move, images, masks):
    root = move(images, masks)
    assert find_task(root) == "segmentation"
    if masks.endswith("annot"):
        (root / "classes.yaml").write_text("classes: [a, b, c]")
    data = read_mask_folders(root)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 6, "val": 3}


def test_a_second_folder_of_masks_is_told(move):
    root = move("images", "masks")
    move("images", "labels", root)
    data = read_mask_folders(root)
    assert told(data) == [("another folder of masks", "problem")]


@pytest.mark.parametrize("ids", [(7, 26, 0), (1, 2, 0)])
def test_cityscapes_is_read_as_it_is_unpacked(masked, ids):
    root = masked.parent / "cityscapes"
    for split in ("train", "val"):
        for path in (masked / "images" / split).iterdir():
            name = f"aachen_{path.stem}_000019"
            for kind, ending in (("leftImg8bit", ""), ("gtFine", "_labelIds")):
                folder = root / kind / split / "aachen"
                folder.mkdir(parents=True, exist_ok=True)
                target = folder / f"{name}_{kind}{ending}.png"
                if kind == "leftImg8bit":
                    shutil.copy(path, target)
                else:
                    labels = np.asarray(Image.open(masked / "masks" / split / path.name))
                    Image.fromarray(np.array(ids, np.uint8)[labels]).save(target)
            colours = root / "gtFine" / split / "aachen" / f"{name}_gtFine_color.png"
            Image.new("RGB", (40, 32)).save(colours)
            colours.with_name(f"{name}_gtFine_polygons.json").write_text("{}")
    assert find_task(root) == "segmentation"
    data = read_mask_folders(root)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 6, "val": 3}
    assert ("car" in data.class_names) == (26 in ids)
    assert len(data.class_names) == (19 if 26 in ids else 3)
    assert not data.issues


@pytest.mark.parametrize(("image", "mask"), [("{n}", "{n}_mask"), ("{n}_img", "{n}_masks")])
def test_masks_may_lie_beside_their_images(masked, image, mask):
    root = masked.parent / "flat"
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        for path in (masked / "images" / split).iterdir():
            shutil.copy(path, root / split / f"{image.format(n=path.stem)}.png")
            other = masked / "masks" / split / path.name
            shutil.copy(other, root / split / f"{mask.format(n=path.stem)}.png")
    assert find_task(root) == ("detection" if mask.endswith("_masks") else "segmentation")
    if mask.endswith("_mask"):
        data = read_mask_folders(root)
        assert [len(part) for part in data.splits.values()] == [6, 3]
        assert not data.issues


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "class_names.txt",
            "__ignore__\n_background_\nred\ngreen\n",
            ("_background_", "red", "green"),
        ),
        (
            "_classes.csv",
            "Pixel Value, Class\n0, ground\n1, red\n2, green\n",
            ("ground", "red", "green"),
        ),
    ],
)
def test_lists_of_classes_that_label_tools_write_are_read(move, name, text, expected):
    root = move("images", "masks")
    (root / name).write_text(text)
    assert read_mask_folders(root).class_names == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "labelmap.txt",
            "# label:color_rgb:parts:actions\nroad:200,0,0::\ncar:0,200,0::\nsky:0,0,200::\n",
        ),
        ("class_dict.csv", "name,r,g,b\nroad,200,0,0\ncar,0,200,0\nsky,0,0,200\n"),
    ],
)
def test_lists_of_colours_tell_masks_in_colour(masked, name, text):
    paint = np.array([(200, 0, 0), (0, 200, 0), (0, 0, 200)], np.uint8)
    for path in (masked / "masks").rglob("*.png"):
        Image.fromarray(paint[np.asarray(Image.open(path))]).save(path)
    (masked / name).write_text(text)
    data = read_mask_folders(masked)
    assert (data.class_names, data.encoding.by_colour) == (("road", "car", "sky"), True)
    (masked / name).write_text(text.replace("200,0,0", "red"))
    with pytest.raises(InputError, match=f"{name}: this list of classes is not understood"):
        read_mask_folders(masked)


@pytest.mark.parametrize("wide", [True, False])
def test_numbers_of_objects_are_no_classes(masked, wide):
    for number, path in enumerate(sorted((masked / "masks").rglob("*.png"))):
        values = np.zeros((32, 40), np.uint16 if wide else np.uint8)
        for n in range(4 if wide else 3 + number % 3):
            values[2 + 6 * n : 5 + 6 * n, 5:20] = n + 1
        Image.fromarray(values).save(path)
    with pytest.raises(InputError, match=r"numbers of objects, not of classes(.|\n)*instances: tr"):
        read_mask_folders(masked)
    (masked / "classes.yaml").write_text("classes: [a, b, c, d, e, f]")
    assert len(read_mask_folders(masked).class_names) == 6


def test_a_format_that_is_passed_over_is_told_and_can_be_chosen(masked, herd, write_herd):
    write_herd(masked, herd, "coco")
    assert find_task(masked) == "segmentation"
    (issue,) = read_mask_folders(masked).issues
    assert issue.what == "holds COCO's JSON too, beside images and masks"
    assert (issue.done, issue.severity) == (
        "masks is read, coco is not; choose with --labels.format",
        "problem",
    )
    assert find_task(Source(masked, labels=LabelOptions(format="coco"))) == "detection"
    assert not read_mask_folders(Source(masked, labels=LabelOptions(format="masks"))).issues


def test_drives_field_of_view_is_not_taken_for_its_vessels(tmp_path):
    for number in range(3):
        for name in (
            f"images/{number}_training.tif",
            f"1st_manual/{number}_manual1.gif",
            f"mask/{number}_training_mask.gif",
        ):
            path = tmp_path / "training" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    splits, issues = pair_parts(find_layout(Source(tmp_path)))
    assert [sample.mask.name for sample in splits["train"]] == [
        f"{n}_manual1.gif" for n in range(3)
    ]
    assert [issue.what for issue in issues] == ["another folder of masks"]
