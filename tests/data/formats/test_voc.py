"""Pascal VOC's XML: corners of first and last pixels, lists, and what is wrong in some files."""

import shutil
from pathlib import Path

import pytest

from nommer.data.formats.detection import read_detection
from nommer.data.formats.find import find_task
from nommer.data.formats.source import Source
from nommer.data.formats.voc import read_voc
from nommer.errors import InputError
from nommer.settings.labels import LabelOptions


@pytest.fixture
def root(tmp_path, herd, write_herd):
    return write_herd(tmp_path, {"train": herd["train"], "val": herd["val"]}, "voc")


GUESS = "no box begins at 0 or 1, so the files do not tell how pixels are counted"


def told(data):
    """Return what was found, but for the guess that the boxes of these data leave open."""
    return [(Path(i.file).name, i.what, i.done) for i in data.issues if i.what != GUESS]


def rewrite(root, text, name="train0"):
    (root / "Annotations" / f"{name}.xml").write_text(text)


def test_pixels_count_from_1_and_the_last_belongs_to_the_object(root, voc_text):
    rewrite(
        root,
        voc_text([("dog", (1, 1, 40, 32)), ("dog", (2.5, 3, 4.5, 6)), ("sheep", (5, 5, 5, 9))]),
    )
    data = read_voc(Source(root))
    assert data.splits["train"][0].objects.boxes.tolist() == [[0, 0, 40, 32], [1.5, 2, 4.5, 6]]
    assert told(data) == [
        ("train0.xml", "object 3 (sheep): box [5, 4, 5, 9] has no area", "dropped")
    ]


def test_where_0_occurs_all_count_from_0(root, voc_text):
    rewrite(root, voc_text([("dog", (0, 4, 39, 31)), ("sheep", (5, 5, 6, 9))]))
    data = read_voc(Source(root))
    assert data.splits["train"][0].objects.boxes.tolist() == [[0, 4, 39, 31], [5, 5, 6, 9]]
    ((_, what, done),) = told(data)
    assert what == "boxes begin at 0 in 1 files, such as train0.xml, where VOC counts pixels from 1"
    assert done == (
        "all coordinates are taken to count from 0; if that is wrong, say --labels.first_pixel 1"
    )


def test_where_nothing_tells_how_pixels_are_counted_the_guess_is_said(root, voc_text):
    (guess,) = [issue for issue in read_voc(Source(root)).issues if issue.what == GUESS]
    assert guess.done == (
        "coordinates are taken to count from 1, as VOC does; if that is wrong, say "
        "--labels.first_pixel 0"
    )
    rewrite(root, voc_text([("dog", (10, 8, 39, 31)), ("sheep", (5, 5, 6, 9))]))
    for option, expected in (("0", [10, 8, 39, 31]), ("1", [9, 7, 39, 31])):
        data = read_voc(Source(root, labels=LabelOptions(first_pixel=option)))
        assert data.splits["train"][0].objects.boxes.tolist()[0] == expected
        assert GUESS not in {issue.what for issue in data.issues}


def test_one_slip_does_not_shift_all(root, voc_text):
    rewrite(root, voc_text([("dog", (0, 4, 39, 31)), ("sheep", (5, 5, 6, 9))]))
    for name in ("train1", "train2"):
        rewrite(root, voc_text([("dog", (1, 4, 39, 31)), ("sheep", (5, 5, 6, 9))]), name)
    data = read_voc(Source(root))
    first, second = (sample.objects.boxes[0].tolist() for sample in data.splits["train"][:2])
    assert (first, second) == ([0, 3, 39, 31], [0, 3, 39, 31])
    (slip,) = [issue for issue in data.issues if "a box begins at 0" in issue.what]
    assert (Path(slip.file).name, slip.severity) == ("train0.xml", "problem")


def test_difficult_objects_are_ignored_unless_they_are_to_be_learned(root, voc_text):
    text = voc_text([("dog", (1, 1, 9, 9)), ("dog", (10, 10, 20, 20))])
    rewrite(root, text.replace("</object>", "<difficult>1</difficult></object>", 1))
    data = read_voc(Source(root))
    assert data.splits["train"][0].objects.crowd.tolist() == [True, False]
    assert ("1 objects are marked difficult") in [what for _, what, _ in told(data)]
    learned = read_voc(Source(root, labels=LabelOptions(difficult="learn")))
    assert learned.splits["train"][0].objects.crowd.tolist() == [False, False]
    assert not told(learned)


@pytest.mark.parametrize("splits", [("train", "valid"), ("",)])
def test_files_may_lie_beside_their_images(tmp_path, root, voc_text, splits):
    for split in splits:
        folder = tmp_path / "flat" / split
        folder.mkdir(parents=True)
        for image in sorted((root / "JPEGImages").iterdir())[:3]:
            (folder / image.name).write_bytes(image.read_bytes())
            (folder / f"{image.stem}.xml").write_text(voc_text([("dog", (1, 1, 9, 9))]))
    assert find_task(tmp_path / "flat") == "detection"
    data = read_detection(tmp_path / "flat")
    assert {split: len(part) for split, part in data.splits.items()} == (
        {"train": 3, "val": 3} if len(splits) > 1 else {"train": 3}
    )
    assert all(len(sample.objects) == 1 for sample in data.samples())
    assert not told(data)


def test_sub_folders_for_splits_are_splits(root):
    shutil.rmtree(root / "ImageSets")
    for folder in ("JPEGImages", "Annotations"):
        for path in sorted((root / folder).iterdir()):
            split = root / folder / path.stem.rstrip("0123456789")
            split.mkdir(exist_ok=True)
            path.rename(split / path.name)
    assert set(read_voc(Source(root)).splits) == {"train", "val"}


def test_an_empty_box_says_nothing_of_how_pixels_are_counted(root, voc_text):
    rewrite(root, voc_text([("dog", (0, 0, 0, 0)), ("dog", (2, 2, 3, 3)), ("sheep", (2, 2, 3, 3))]))
    data = read_voc(Source(root))
    assert data.splits["train"][0].objects.boxes.tolist() == [[1, 1, 3, 3]] * 2
    assert [what for _, what, _ in told(data)] == ["object 1 (dog): box [0, 0, 0, 0] has no area"]


def test_corners_that_lack_are_no_box(root, voc_text):
    rewrite(
        root,
        voc_text([("dog", ("", 2, 3, 4)), ("sheep", (2, 2, 3, 3))]).replace("<ymax>4</ymax>", ""),
    )
    ((_, what, done),) = told(read_voc(Source(root)))
    assert (what, done) == ("object 1 (dog): box [nan, 2, 3, nan] is not finite", "dropped")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation><object>", "is no XML: no element found"),
        ("", "is no XML: no element found"),
        (
            "<annotation><size><width>wide</width></size></annotation>",
            "cannot convert float NaN to integer",
        ),
        (
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>',
            "is no XML: undefined entity",
        ),
    ],
)
def test_files_that_cannot_be_read_are_for_the_audit_to_tell(root, text, reason):
    rewrite(root, text)
    sample = read_voc(Source(root)).splits["train"][0]
    assert sample.error.startswith(
        f"its annotation {root / 'Annotations/train0.xml'} cannot be read: {reason}"
    )
    assert not len(sample.objects)


def test_a_size_left_empty_is_read_from_the_image(root, voc_text):
    rewrite(
        root, voc_text([("dog", (1, 1, 9, 9))]).replace("<width>40</width>", "<width> </width>")
    )
    sample = read_voc(Source(root)).splits["train"][0]
    assert (sample.size, sample.error, len(sample.objects)) == ((40, 32), None, 1)


def test_an_object_without_a_name_is_dropped(root, voc_text):
    rewrite(root, voc_text([("", (1, 1, 9, 9)), ("dog", (1, 1, 9, 9))]))
    data = read_voc(Source(root))
    assert told(data) == [("train0.xml", "object 1 has no name", "dropped")]
    assert "" not in data.class_names
    assert len(data.splits["train"][0].objects) == 1


def test_a_size_that_lacks_is_read_from_the_image(root, voc_text):
    rewrite(root, voc_text([("dog", (1, 1, 9, 9))], size=(0, 0)))
    rewrite(root, voc_text([("dog", (1, 1, 9, 9))], size=(320, 400)), "train1")
    first, second, *_ = read_voc(Source(root)).splits["train"]
    assert (first.size, second.size) == ((40, 32), (320, 400))


def test_files_without_a_partner_are_listed(root):
    (root / "Annotations/train0.xml").unlink()
    (root / "Annotations/nobody.xml").touch()
    (root / "ImageSets/Main/val.txt").write_text("val0\nval1\n")
    data = read_voc(Source(root))
    assert told(data) == [
        ("nobody.xml", "annotation without an image", "left out"),
        ("val2.png", "is in no list of a split", "left out"),
        ("train0.xml", "no such annotation file", "its image is taken to have no objects"),
    ]
    assert not len(data.splits["train"][0].objects)


def test_without_lists_everything_is_for_training(root):
    for path in (root / "ImageSets/Main").iterdir():
        path.unlink()
    assert {split: len(part) for split, part in read_detection(root).splits.items()} == {"train": 9}


def test_lists_must_fit(root):
    lists = root / "ImageSets/Main"
    (lists / "val.txt").write_text("val0\ntrain0\n")
    with pytest.raises(InputError, match=r"val.txt: lists 'train0', which another split lists too"):
        read_voc(Source(root))
    (lists / "val.txt").write_text("nobody\n")
    with pytest.raises(
        InputError, match=r"val.txt: 1 of the names listed are no images in .*: nobody"
    ):
        read_voc(Source(root))
    (lists / "val.txt").write_text("")
    with pytest.raises(InputError, match=r"val.txt: no images of 'val' here"):
        read_voc(Source(root))


def test_classes_are_the_names_that_occur_anywhere(root, voc_text):
    rewrite(root, voc_text([("cow", (1, 1, 9, 9))]), "val0")
    assert read_voc(Source(root)).class_names == ("cow", "dog", "sheep")
    data = read_detection(root, class_names=("dog", "sheep", "cow"))
    assert data.splits["val"][0].objects.labels.tolist() == [2]
    with pytest.raises(InputError, match="class cow is not among the model's classes"):
        read_detection(root, class_names=("dog", "sheep"))


@pytest.mark.parametrize("folders", [("images", "annotations"), ("IMAGES", "Annotations")])
def test_folders_may_be_called_otherwise(root, folders):
    for old, new in zip(("JPEGImages", "Annotations"), folders, strict=True):
        (root / old).rename(root / new)
    assert len(read_voc(Source(root)).samples()) == 9


def test_bccd_has_the_objects_that_it_says(shared_data, tmp_path):
    import tarfile  # noqa: PLC0415

    with tarfile.open(shared_data / "bccd" / "BCCD.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    data = read_detection(tmp_path / "BCCD")
    assert {split: len(part) for split, part in data.splits.items()} == {
        "train": 205,
        "val": 87,
        "test": 72,
    }
    found = {
        split: [sum((s.objects.labels == label).sum() for s in part) for label in range(3)]
        for split, part in data.splits.items()
    }
    assert data.class_names == ("Platelets", "RBC", "WBC")
    assert found == {"train": [209, 2382 - 1, 214], "val": [83, 968 - 1, 87], "test": [69, 805, 71]}
    assert sorted(told(data)) == [
        (
            "BloodImage_00338.xml",
            "object 13 (RBC): box [504, 337, 504, 337] has no area",
            "dropped",
        ),
        ("BloodImage_00343.xml", "object 4 (RBC): box [181, 329, 181, 329] has no area", "dropped"),
    ]


LABELME = """<annotation><imagesize><nrows>32</nrows><ncols>40</ncols></imagesize>
<object><name>dog</name><deleted>0</deleted><polygon><pt><x>5</x><y>6</y></pt>
<pt><x>20</x><y>6</y></pt><pt><x>20</x><y>30.5</y></pt><username/></polygon></object>
<object><name>dog</name><deleted>1</deleted><polygon><pt><x>1</x><y>1</y></pt>
<pt><x>9</x><y>1</y></pt><pt><x>9</x><y>9</y></pt></polygon></object>
<object><name>sheep</name><type>bounding_box</type><polygon><pt><x>0</x><y>1</y></pt>
<pt><x>9</x><y>1</y></pt><pt><x>9</x><y>8</y></pt><pt><x>0</x><y>8</y></pt></polygon></object>
<object><name>sheep</name><segm><mask>a.png</mask></segm></object>
<object><name>sheep</name><polygon><pt><x>1</x><y>1</y></pt></polygon></object>
</annotation>"""


def test_polygons_of_labelme_3_are_read_whatever_pixels_count_from(root):
    rewrite(root, LABELME)
    data = read_voc(Source(root, labels=LabelOptions(first_pixel="1")))
    objects = data.splits["train"][0].objects
    assert objects.boxes.tolist() == [[5, 6, 20, 30.5], [0, 1, 9, 8]]
    assert [bool(mask) for mask in objects.masks] == [True, False]
    assert told(data) == [
        (
            "train0.xml",
            "object 4 is painted in LabelMe, whose files of masks are not read",
            "dropped",
        ),
        ("train0.xml", "object 5 has 1 points, which enclose nothing", "dropped"),
    ]
