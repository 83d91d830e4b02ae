"""Images with masks: what is found in every layout, what the values are taken for, what is refused,
how it is split.
"""

import csv
import io
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nommer.data.formats.find import find_task
from nommer.data.formats.labelled import Issue, read_split, split_as_csv, split_randomly
from nommer.data.formats.mask_pairs import MaskSample
from nommer.data.formats.masks import MaskFolders, read_mask_folders
from nommer.data.formats.source import Source
from nommer.data.masks import IGNORE, MaskEncoding, read_mask
from nommer.errors import InputError


def listed(data, split):
    return [
        (
            sample.path.relative_to(data.root).as_posix(),
            sample.mask.relative_to(data.root).as_posix(),
        )
        for sample in data.splits[split]
    ]


def found_issues(data):
    return {
        (Path(issue.file).relative_to(data.root).as_posix(), issue.what, issue.done)
        for issue in data.issues
    }


@pytest.mark.parametrize(
    ("train", "val"),
    [
        (("images/train", "masks/train"), ("images/val", "masks/val")),
        (("Images/Training", "MASKS/train"), ("Images/Valid", "MASKS/validation")),
        (("images/train", "annotations/train"), ("images/val", "annotations/val")),
        (("images/train", "labels/train"), ("images/test", "labels/test")),
        (
            ("JPEGImages/train", "SegmentationClass/train"),
            ("JPEGImages/val", "SegmentationClass/val"),
        ),
        (("train/images", "train/masks"), ("val/images", "val/masks")),
        (("training/images", "training/labels"), ("validation/images", "validation/labels")),
        (
            ("train/JPEGImages", "train/SegmentationClass"),
            ("testing/Images", "testing/Annotations"),
        ),
    ],
)
def test_split_folders_by_any_usual_name(tmp_path, write_layout, train, val):
    pairs = [(f"{train[0]}/b.png", f"{train[1]}/b.png"), (f"{train[0]}/a.PNG", f"{train[1]}/a.png")]
    pairs += [(f"{val[0]}/c.png", f"{val[1]}/c.tif")]
    data = read_mask_folders(write_layout(tmp_path, pairs))
    assert listed(data, "train") == pairs[1::-1]
    assert listed(data, "val") == pairs[2:]
    assert set(data.splits) == {"train", "val"}
    assert data.class_names == ("class 0", "class 1", "class 2")
    assert data.issues == ()


def test_a_test_folder_beside_val_stays_test(tmp_path, write_layout):
    pairs = [
        (f"images/{split}/1.png", f"masks/{split}/1.png") for split in ("train", "val", "test")
    ]
    data = read_mask_folders(write_layout(tmp_path, pairs))
    assert listed(data, "test") == pairs[2:]
    assert len(data.samples()) == 3


def test_without_splits_everything_is_for_training(tmp_path, write_layout):
    pairs = [("images/1.png", "masks/1.png"), ("images/deep/1.png", "masks/deep/1.png")]
    data = read_mask_folders(write_layout(tmp_path, pairs))
    assert set(data.splits) == {"train"}
    assert listed(data, "train") == pairs


@pytest.mark.parametrize(
    "links", [("images", "masks"), ("images/train", "masks/train"), ("images/train/deep",)]
)
def test_linked_folders_are_as_good(tmp_path, write_layout, links):
    pairs = [
        ("images/train/deep/1.png", "masks/train/deep/1.png"),
        ("images/val/2.png", "masks/val/2.png"),
    ]
    write_layout(tmp_path, pairs)
    (tmp_path / "elsewhere").mkdir()
    for number, link in enumerate(links):
        (tmp_path / link).rename(tmp_path / "elsewhere" / str(number))
        (tmp_path / link).symlink_to(tmp_path / "elsewhere" / str(number))
    assert find_task(tmp_path) == "segmentation"
    data = read_mask_folders(tmp_path)
    assert listed(data, "train") == pairs[:1]
    assert listed(data, "val") == pairs[1:]


@pytest.mark.parametrize("ending", ["", "_mask", "_label", "_labels", "_L", "_seg"])
def test_masks_may_have_a_word_behind_the_name(tmp_path, write_layout, ending):
    data = read_mask_folders(
        write_layout(tmp_path, [("images/a.b.png", f"masks/a.b{ending}.png")] * 2)
    )
    assert listed(data, "train") == [("images/a.b.png", f"masks/a.b{ending}.png")]
    assert data.issues == ()


def test_a_mask_belongs_to_the_image_of_just_its_name_first(tmp_path, write_layout):
    pairs = [("images/a.png", "masks/a.png"), ("images/a_seg.png", "masks/a_seg.png")]
    data = read_mask_folders(write_layout(tmp_path, pairs))
    assert listed(data, "train") == pairs
    (tmp_path / "masks/a.png").unlink()
    assert listed(read_mask_folders(tmp_path), "train") == pairs, (
        "the mask of a is missing; that of a_seg is not a's"
    )


def test_names_of_any_script_match_however_they_are_composed(tmp_path, write_layout):
    name = "Straße mit Bäumen 空"
    composed, decomposed = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert composed != decomposed
    pair = (f"images/{decomposed}.png", f"masks/{composed}.png")
    (tmp_path / "train.txt").write_text(composed + "\n", encoding="utf-8")
    assert listed(read_mask_folders(write_layout(tmp_path, [pair])), "train") == [pair]


def test_what_is_left_out_is_listed(tmp_path, write_layout):
    write_layout(
        tmp_path,
        [("images/train/a.png", "masks/train/a.png"), ("images/extra/b.png", "masks/train/b.png")],
    )
    write_layout(
        tmp_path,
        [("images/train/c.png", "masks/train/c.png"), ("images/test/d.png", "images/loose.png")],
    )
    for name in (
        "images/train/notes.txt",
        "masks/train/.hidden.png",
        "masks/train/Thumbs.db",
        "images/empty/x.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    data = read_mask_folders(tmp_path)
    assert [image for image, _ in listed(data, "train")] == [
        "images/train/a.png",
        "images/train/c.png",
    ]
    assert set(data.splits) == {"train"}
    assert found_issues(data) == {
        ("images/extra", "lies beside the split folders", "left out"),
        ("images/loose.png", "lies beside the split folders", "left out"),
        ("images/test", "there is no folder of masks for it", "left out"),
        ("images/train/notes.txt", "file name does not end as an image's", "left out"),
        ("masks/train/Thumbs.db", "file name does not end as an image's", "left out"),
        ("masks/train/b.png", "mask without an image", "left out"),
    }
    assert data.left_out == 6


def test_an_image_without_a_mask_is_kept_for_the_audit_to_complain(tmp_path, write_layout, paint):
    write_layout(tmp_path, [("images/a.png", "masks/a.png")])
    paint(np.zeros((8, 8), int)).save(tmp_path / "images" / "b.jpg")
    assert listed(read_mask_folders(tmp_path), "train") == [
        ("images/a.png", "masks/a.png"),
        ("images/b.jpg", "masks/b.png"),
    ]


class TestCamVid:
    @pytest.fixture
    def camvid(self, tmp_path, write_layout):
        names = {"train": "abcd", "val": "ef", "test": "gh"}
        pairs = [
            (f"{split}/{n}.jpg", f"{split}annot/{n}.png")
            for split, group in names.items()
            for n in group
        ]
        return write_layout(tmp_path / "CamVid", pairs, values=[0, 3, 11])

    def test_is_known_by_its_folders(self, camvid, capsys):
        data = read_mask_folders(camvid)
        assert {split: len(part) for split, part in data.splits.items()} == {
            "train": 4,
            "val": 2,
            "test": 2,
        }
        assert data.class_names[3] == "Road"
        assert len(data.class_names) == len(data.colours) == 11
        assert np.unique(read_mask(data.splits["test"][0].mask, data.encoding)).tolist() == [
            0,
            3,
            IGNORE,
        ]
        assert (
            "the folders are CamVid's, so its 11 classes are taken, and 11 is ignored"
            in capsys.readouterr().err
        )
        assert data.issues == ()

    def test_its_lists_choose_by_the_base_name(self, camvid):
        lines = [f"/SegNet/CamVid/train/{n}.png /SegNet/CamVid/trainannot/{n}.png" for n in "dab"]
        (camvid / "train.txt").write_text("\n".join(lines) + "\n")
        data = read_mask_folders(camvid)
        assert [sample.path.name for sample in data.splits["train"]] == ["a.jpg", "b.jpg", "d.jpg"]
        assert found_issues(data) == {("train/c.jpg", "is in no list of a split", "left out")}

    def test_a_class_file_has_the_first_word(self, camvid, capsys):
        (camvid / "classes.yaml").write_text(
            "classes: [{name: a, value: 0}, {name: b, value: 3}, {name: c, value: 11}]"
        )
        assert read_mask_folders(camvid).class_names == ("a", "b", "c")
        (camvid / "other.json").write_text('{"names": {"0": "d", "3": "e"}, "ignore": 11}')
        assert read_mask_folders(Source(camvid, camvid / "other.json")).class_names == ("d", "e")
        assert capsys.readouterr().err == ""

    def test_what_has_no_masks_is_listed_or_refused(self, camvid, write_layout):
        (camvid / "testannot").rename(camvid / "elsewhere")
        assert found_issues(read_mask_folders(camvid)) == {
            ("test", "there is no folder of masks for it", "left out"),
            ("elsewhere", "lies beside the split folders", "left out"),
        }
        (camvid / "valannot").rename(camvid / "testannot")
        with pytest.raises(
            InputError,
            match=r"val: there is no folder of masks for it; expected one in .*CamVid; acc",
        ):
            read_mask_folders(camvid)


class TestADE20K:
    @pytest.fixture
    def ade20k(self, tmp_path, write_layout):
        pairs = [
            (f"images/{split}/ADE_{n}.jpg", f"annotations/{split}/ADE_{n}.png")
            for split in ("training", "validation")
            for n in range(3)
        ]
        return write_layout(tmp_path / "ADEChallengeData2016", pairs)

    def test_0_is_ignored_and_the_others_shift(self, ade20k, capsys):
        data = read_mask_folders(ade20k)
        assert data.class_names == ("class 1", "class 2")
        sample = data.splits["train"][1]
        with Image.open(sample.mask) as image:
            values = np.asarray(image).astype(int)
        assert np.array_equal(
            read_mask(sample.mask, data.encoding), np.where(values == 0, IGNORE, values - 1)
        )
        assert (
            "the folders are ADE20K's, so value 0 is ignored, and 1 is the first class"
            in capsys.readouterr().err
        )

    def test_names_come_from_its_own_file(self, ade20k):
        (ade20k / "objectInfo150.txt").write_text(
            "Idx\tRatio\tTrain\tVal\tName\n1\t0\t1\t1\twall\n2\t0\t1\t1\ttree, bush\n"
        )
        assert read_mask_folders(ade20k).class_names == ("wall", "tree")

    def test_a_class_file_has_the_first_word(self, ade20k):
        (ade20k / "classes.yaml").write_text("classes: [ground, wall, tree]")
        data = read_mask_folders(ade20k)
        assert data.encoding.values == {0: 0, 1: 1, 2: 2, 255: IGNORE}


class TestLists:
    @pytest.fixture
    def flat(self, tmp_path, write_layout):
        return write_layout(
            tmp_path / "flat", [(f"images/{n}.png", f"masks/{n}.png") for n in "abcdef"]
        )

    def split(self, data):
        return {
            split: "".join(sample.path.stem for sample in part)
            for split, part in data.splits.items()
        }

    @pytest.mark.parametrize("folder", ["", "splits", "ImageSets/Segmentation"])
    @pytest.mark.parametrize(
        "form",
        [
            "{}",
            "{}.png",
            "{}.jpg",
            "images/{}.png",
            "/abs/olute/{}.tif",
            "{}.png\t{}_mask.png",
            "{}.png,{}.png",
            "  {} 1 ",
        ],
    )
    def test_lines_of_any_usual_form_and_place(self, flat, folder, form):
        (flat / folder).mkdir(parents=True, exist_ok=True)
        for split, names in {"train": "cab", "val": "ed", "test": "f"}.items():
            lines = [form.format(name, name) for name in names]
            (flat / folder / f"{split}.txt").write_text(
                "\n".join(lines) + "\n\n", encoding="utf-8-sig"
            )
        (flat / folder / "trainval.txt").write_text("nobody reads this")
        data = read_mask_folders(flat)
        assert self.split(data) == {"train": "abc", "val": "de", "test": "f"}
        assert data.issues == ()

    def test_what_no_list_names_is_left_out_and_listed(self, flat):
        (flat / "TRAIN.TXT").write_text("a\nb\nb\n")
        data = read_mask_folders(flat)
        assert self.split(data) == {"train": "ab"}
        assert found_issues(data) == {
            (f"images/{n}.png", "is in no list of a split", "left out") for n in "cdef"
        } | {("images/b.png", "listed twice in TRAIN.TXT", "used once")}

    def test_test_alone_is_for_validation(self, flat):
        (flat / "train.txt").write_text("a\nb\n")
        (flat / "test.txt").write_text("c\n")
        assert self.split(read_mask_folders(flat)) == {"train": "ab", "val": "c"}

    def test_a_test_list_without_a_single_mask_is_left_out(self, flat):
        (flat / "train.txt").write_text("a\nb\n")
        (flat / "val.txt").write_text("c\n")
        (flat / "test.txt").write_text("d\ne\n")
        for name in "def":
            (flat / "masks" / f"{name}.png").unlink()
        data = read_mask_folders(flat)
        assert self.split(data) == {"train": "ab", "val": "c"}
        assert ("images/d.png", "no image of this split has a mask", "left out") in found_issues(
            data
        )

    def test_names_with_spaces_and_commas(self, tmp_path, write_layout):
        names = ["my image (1)", "my", "a, b", "train 1", "bäume 2"]
        write_layout(tmp_path, [(f"images/{name}.png", f"masks/{name}.png") for name in names])
        (tmp_path / "train.txt").write_text(
            "my image (1).png\nmy.png masks/my.png\n", encoding="utf-8"
        )
        (tmp_path / "val.txt").write_text(
            "a, b.png\nimages/train 1.png\nC:\\data\\bäume 2.png", encoding="utf-8"
        )
        data = read_mask_folders(tmp_path)
        assert [sample.path.stem for sample in data.splits["train"]] == ["my", "my image (1)"]
        assert [sample.path.stem for sample in data.splits["val"]] == ["a, b", "bäume 2", "train 1"]

    def test_the_same_name_in_sub_folders_is_told_apart_by_the_path(self, tmp_path, write_layout):
        write_layout(
            tmp_path,
            [(f"images/{city}/1.png", f"masks/{city}/1.png") for city in ("bonn", "jena", "ulm")],
        )
        (tmp_path / "train.txt").write_text("images/bonn/1.png\nulm/1\n")
        data = read_mask_folders(tmp_path)
        assert [sample.path.parent.name for sample in data.splits["train"]] == ["bonn", "ulm"]
        (tmp_path / "train.txt").write_text("1.png\n")
        with pytest.raises(
            InputError,
            match=r"train.txt: '1.png' may be any of 3 images in .*images; write its sub-fo",
        ):
            read_mask_folders(tmp_path)

    @pytest.mark.parametrize(
        ("lists", "message"),
        [
            (
                {"train": "a\nx\nb\ny.png\n"},
                "train.txt: 2 of the names listed are no images in {}/images: x, y.png; correct "
                "the list or add the",
            ),
            (
                {"train": "a\nb", "val": "b\nc"},
                "val.txt: lists 'b', which another split lists too; keep it in one",
            ),
            ({"train": "a\nb", "val": "\n"}, "val.txt: no images of 'val' here"),
            ({"val": "a", "test": "b"}, "{}: holds test, val but nothing to train on"),
            (
                {"train": "a", "val": "b", "valid": "c"},
                "{}: both val.txt and valid.txt list val images; keep one",
            ),
        ],
    )
    def test_lists_that_do_not_fit_are_refused(self, flat, lists, message):
        for name, text in lists.items():
            (flat / f"{name}.txt").write_text(text)
        with pytest.raises(InputError) as caught:
            read_mask_folders(flat)
        assert message.format(flat) in str(caught.value)

    def test_pascal_vocs_tree(self, tmp_path, write_layout):
        pairs = [(f"JPEGImages/2007_{n}.jpg", f"SegmentationClass/2007_{n}.png") for n in range(5)]
        write_layout(tmp_path, pairs, values=[0, 15, 255])
        (tmp_path / "Annotations").mkdir()
        (tmp_path / "Annotations" / "2007_0.xml").write_text("<annotation/>")
        (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
        for split, lines in {
            "train": "2007_0\n2007_1\n",
            "val": "2007_2\n",
            "trainval": "2007_0\n",
        }.items():
            (tmp_path / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(lines)
        data = read_mask_folders(tmp_path)
        assert listed(data, "train") == pairs[:2]
        assert listed(data, "val") == pairs[2:3]
        assert data.class_names == ("class 0", "class 15")
        assert data.encoding.values == {0: 0, 15: 1, 255: IGNORE}
        assert data.left_out == 2


class TestClasses:
    def test_palette_masks_are_read_by_index(self, tmp_path, write_layout):
        write_layout(tmp_path, [("images/a.png", "masks/a.png"), ("images/b.png", "masks/b.png")])
        for mask in (tmp_path / "masks").iterdir():
            with Image.open(mask) as image:
                labels = np.asarray(image).copy()
            image = Image.fromarray(labels, "P")
            image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
            image.save(mask)
        data = read_mask_folders(tmp_path)
        assert data.class_names == ("class 0", "class 1", "class 2")
        assert np.array_equal(read_mask(tmp_path / "masks" / "b.png", data.encoding), labels)

    def test_masks_in_colour_by_a_class_file(self, tmp_path, write_pair, paint):
        labels = write_pair(tmp_path / "images" / "a.png", tmp_path / "masks" / "a.png")
        paint(labels).save(tmp_path / "masks" / "a.png")
        with pytest.raises(InputError) as caught:
            read_mask_folders(tmp_path)
        assert f"{tmp_path / 'masks' / 'a.png'}: this mask is in colour ((" in str(caught.value)
        assert "write a " + str(tmp_path / "classes.yaml") in str(caught.value)
        colours = [
            image.getpixel((0, 0)) for image in (paint(np.full((1, 1), n)) for n in range(3))
        ]
        classes = [
            {"name": name, "color": list(colour)}
            for name, colour in zip("abc", colours, strict=True)
        ]
        (tmp_path / "classes.yaml").write_text(yaml.safe_dump({"classes": classes}))
        data = read_mask_folders(tmp_path)
        assert data.colours == tuple(colours)
        assert np.array_equal(read_mask(data.samples()[0].mask, data.encoding), labels)

    def test_binaries_are_explained_with_the_class_file_that_says_it(self, tmp_path, write_layout):
        write_layout(
            tmp_path,
            [("images/a.png", "masks/a.png"), ("images/b.png", "masks/b.png")],
            values=[0, 255, 0],
        )
        with pytest.raises(InputError) as caught:
            read_mask_folders(tmp_path)
        message = str(caught.value)
        assert (
            f"{tmp_path}: the masks hold 0 and 255 alone; 255 usually marks one class of two"
            in message
        )
        (tmp_path / "classes.yaml").write_text(message[message.index("  classes:") :])
        data = read_mask_folders(tmp_path)
        assert data.class_names == ("background", "object")
        assert data.encoding.values == {0: 0, 255: 1}

    def test_classes_are_the_values_that_occur_in_training(self, tmp_path, write_layout):
        write_layout(
            tmp_path, [("images/train/a.png", "masks/train/a.png")], values=[7, 300 % 256, 255]
        )
        write_layout(tmp_path, [("images/val/a.png", "masks/val/a.png")], values=[1, 2, 3])
        data = read_mask_folders(tmp_path)
        assert data.class_names == ("class 7", "class 44")
        assert data.encoding == MaskEncoding(
            {7: 0, 44: 1, 255: IGNORE}, ignores_255_by_default=True
        )

    def test_more_than_255_values_are_no_classes(self, tmp_path, write_layout):
        write_layout(tmp_path, [("images/a.png", "masks/a.png")])
        Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20)).save(
            tmp_path / "masks" / "a.png"
        )
        with pytest.raises(
            InputError,
            match="the values in the masks make 399 classes, expected 1 to 255; are these masks of",
        ):
            read_mask_folders(tmp_path)

    def test_one_class_is_too_few(self, tmp_path, write_layout):
        write_layout(tmp_path, [("images/a.png", "masks/a.png")], values=[4, 4, 255])
        with pytest.raises(
            InputError,
            match=r"found one class, 'class 4', expected at least two; write a classes.yaml, such",
        ):
            read_mask_folders(tmp_path)
        (tmp_path / "classes.yaml").write_text("classes: [{name: road, value: 4}]")
        with pytest.raises(InputError, match="found one class, 'road', expected at least two"):
            read_mask_folders(tmp_path)
        assert read_mask_folders(tmp_path, class_names=("sky", "road")).encoding.values == {
            4: 1,
            255: IGNORE,
        }

    def test_masks_that_cannot_be_read_are_left_to_the_audit(self, tmp_path, write_layout):
        write_layout(tmp_path, [("images/a.png", "masks/a.png"), ("images/b.png", "masks/b.png")])
        (tmp_path / "masks" / "b.png").write_text("no image")
        assert len(read_mask_folders(tmp_path).samples()) == 2
        (tmp_path / "masks" / "a.png").write_text("no image")
        with pytest.raises(
            InputError,
            match=r"none of the 2 masks can be read; first: .*a.png: "
            "not an image of a known format",
        ):
            read_mask_folders(tmp_path)

    def test_labels_come_in_a_models_order(self, masked):
        names = ("class 2", "tree", "class 0", "class 1")
        data = read_mask_folders(masked, class_names=names)
        assert data.class_names == names
        assert data.encoding.values == {0: 2, 1: 3, 2: 0, 255: IGNORE}
        assert len(set(data.colours)) == 4

    def test_a_class_that_the_model_lacks_is_an_error_with_both_sides(self, masked):
        with pytest.raises(InputError) as caught:
            read_mask_folders(masked, class_names=("class 0", "class 1"))
        assert (
            "class class 2 is not among the model's classes; found 3: class 0, class 1, class 2; "
            "expected 2" in str(caught.value)
        )

    def test_data_to_evaluate_need_no_training_images(self, masked):
        (masked / "images" / "train").rename(masked / "images" / "test")
        (masked / "masks" / "train").rename(masked / "masks" / "test")
        data = read_mask_folders(masked, class_names=("class 0", "class 1", "class 2"))
        assert {split: len(part) for split, part in data.splits.items()} == {"test": 6, "val": 3}
        with pytest.raises(InputError, match="holds test, val but nothing to train on"):
            read_mask_folders(masked)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "found no images with masks"),
        (["images/a.jpg"], "found no images with masks"),
        (["a/1.jpg", "b/1.jpg"], "found no images with masks"),
        (["images/a.jpg", "annotations/a.json"], "found no images with masks"),
        (["images/train/a.jpg", "labels/train/a.txt"], "found no images with masks"),
        (
            ["images/train/a.jpg", "images/val/a.jpg", "masks/train/a.png"],
            "val: there is no folder of masks for it",
        ),
        (
            ["train/images/a.jpg", "train/masks/a.png", "val/images/a.jpg"],
            "val: there is no folder of masks for it",
        ),
        (
            ["images/train/a.jpg", "images/val/a.txt", "masks/train/a.png", "masks/val/a.png"],
            "no images of 'val' here",
        ),
        (
            ["images/train/a.txt", "masks/train/a.png"],
            "images/train: no images of 'train' here; accepted layouts for",
        ),
        (
            ["images/readme.txt", "masks/a.png"],
            "images: no images of 'train' here; accepted layouts for semantic seg",
        ),
        (
            ["images/train/a.jpg", "images/val/a.jpg", "masks/train/a.png", "masks/val/a.txt"],
            "val: no masks in this folder, for the images in {root}/images/val; accepted layouts "
            "for semantic segmenta",
        ),
        (
            [
                "images/train/a1.jpg",
                "images/train/a2.jpg",
                "masks/train/m1.png",
                "masks/train/m2.png",
            ],
            "{root}/masks/train: the names of the masks, such as m1.png, do not match those of the "
            "images of 'train', "
            "such as a1.jpg; name each mask like its image, in the same sub-folder, or with _mask, "
            "_label, _labels, "
            "_L, _seg behind the name",
        ),
        (
            ["images/train/a.jpg", "masks/train/b.png", "images/test/c.jpg", "masks/test/d.png"],
            "such as b.png, do not",
        ),
        (
            ["images/val/a.jpg", "images/valid/a.jpg", "masks/val/a.png"],
            "both val and valid hold val images; keep one",
        ),
        (
            ["images/a.jpg", "images/a.png", "masks/a.png"],
            "another of the images, a.jpg, differs only in its ending",
        ),
        (
            ["images/a.jpg", "masks/a.tif", "masks/a.png"],
            "another of the masks, a.png, differs only in its ending",
        ),
    ],
)
def test_refuses_what_does_not_fit(tmp_path, files, message):
    with pytest.raises(InputError) as caught:
        read_mask_folders(touch(tmp_path, *files))
    assert message.format(root=tmp_path) in str(caught.value)
    if "no images with masks" in message:
        assert "DATA/images/train/*.jpg and DATA/masks/train/*.png" in str(caught.value)


def test_the_users_files_stay_as_they_are(masked, digest):
    before = digest(masked)
    read_mask_folders(masked)
    assert digest(masked) == before


def in_memory(count, root="/data"):
    samples = tuple(
        MaskSample(Path(root, "images", f"{n}.jpg"), Path(root, "masks", f"{n}.png"))
        for n in range(count)
    )
    encoding = MaskEncoding({0: 0, 1: 1})
    return MaskFolders(
        Path(root),
        ("a", "b"),
        {"train": samples},
        colours=((1, 1, 1), (2, 2, 2)),
        encoding=encoding,
    )


class TestSplitRandomly:
    @given(count=st.integers(2, 300), fraction=st.floats(0.001, 0.999), seed=st.integers(0, 2**31))
    def test_parts_are_disjoint_and_complete_and_neither_is_empty(self, count, fraction, seed):
        data = in_memory(count)
        split = split_randomly(data, fraction=fraction, seed=seed)
        train, val = split.splits["train"], split.splits["val"]
        assert sorted(train + val, key=str) == sorted(data.splits["train"], key=str)
        assert min(len(train), len(val)) >= 1
        assert abs(len(val) - fraction * count) <= 1
        assert (split.encoding, split.colours) == (data.encoding, data.colours)

    def test_the_choice_depends_on_the_seed_and_the_names_alone(self):
        def held(data, seed=1):
            return {
                s.path.name for s in split_randomly(data, fraction=0.3, seed=seed).splits["val"]
            }

        here = in_memory(20)
        backwards = MaskFolders(
            here.root,
            here.class_names,
            {"train": here.splits["train"][::-1]},
            colours=(),
            encoding=here.encoding,
        )
        assert held(here) == held(backwards) == held(in_memory(20, "/elsewhere"))
        assert held(here) == {"10.jpg", "13.jpg", "15.jpg", "17.jpg", "2.jpg", "7.jpg"}, (
            "the same on every machine"
        )
        assert len({frozenset(held(here, seed)) for seed in range(6)}) == 6

    def test_one_image_cannot_be_split(self):
        with pytest.raises(
            InputError, match="one image cannot be split into training and validation; add more"
        ):
            split_randomly(in_memory(1), fraction=0.2, seed=0)


def test_a_written_split_is_read_back_as_it_was(masked):
    data = read_mask_folders(masked)
    text = split_as_csv(data)
    (masked / "split.csv").write_text(text)
    assert read_split(masked, masked / "split.csv") == {
        split: {sample.path for sample in samples} for split, samples in data.splits.items()
    }
    row = next(csv.DictReader(io.StringIO(text)))
    assert row == {"file": "images/train/0.png", "split": row["split"], "mask": "masks/train/0.png"}


def test_issues_are_lines_about_files():
    assert vars(Issue("a", "b", "c")) == {"file": "a", "what": "b", "done": "c", "severity": "note"}
