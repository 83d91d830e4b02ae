"""YOLO's text files and the many ways in which data.yaml says where they are."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nommer.data.formats.find import find_task
from nommer.data.formats.source import Source
from nommer.data.formats.yolo import read_yolo
from nommer.data.formats.yolo_description import find_description
from nommer.data.formats.yolo_places import label_file
from nommer.errors import InputError


@pytest.fixture
def root(tmp_path, herd, write_herd):
    return write_herd(tmp_path / "data", {"train": herd["train"], "val": herd["val"]}, "yolo")


def describe(root, text):
    (root / "data.yaml").write_text(text)
    return read_yolo(Source(root))


def told(data):
    return [
        (Path(i.file).name, i.what, i.done) for i in data.issues if i.what != "no such label file"
    ]


def counts(data):
    return {split: len(part) for split, part in data.splits.items()}


@pytest.mark.parametrize(
    "paths",
    [
        "train: images/train\nval: images/val",
        "train: ./images/train\nval: ./images/val/",
        "path: .\ntrain: images/train\nvalid: images/val",
        "path: ../datasets/herd\ntrain: images/train\nval: images/val",
        "path: /content/datasets/herd\ntrain: images/train\nval: images/val",
        "train: ../images/train\nval: ../images/val",
        "path: images\ntrain: train\nval: val",
        "train: [images/train]\nval: images/val",
        "train: train.txt\nval: lists/val.txt",
    ],
)
def test_images_are_found_however_the_path_is_written(root, paths):
    (root / "lists").mkdir()
    (root / "train.txt").write_text("".join(f"./images/train/train{n}.png\n" for n in range(6)))
    (root / "lists/val.txt").write_text("".join(f"../images/val/val{n}.png\n\n" for n in range(3)))
    data = describe(root, f"names: {{3: sheep, 7: dog}}\n{paths}\n")
    assert counts(data) == {"train": 6, "val": 3}
    assert sum(len(s.objects) for s in data.samples()) > 9
    assert not told(data)


def test_a_relative_root_works(root, monkeypatch):
    monkeypatch.chdir(root)
    assert counts(read_yolo(Source(Path()))) == {"train": 6, "val": 3}
    assert counts(read_yolo(Source(Path("../data")))) == {"train": 6, "val": 3}


def test_a_test_split_that_is_not_there_is_listed(root):
    data = describe(
        root, "names: {3: a, 7: b}\ntrain: images/train\nval: images/val\ntest: images/test"
    )
    assert told(data) == [
        ("data.yaml", "test: images/test is not there", "no images are taken from it")
    ]


def test_a_test_split_without_images_is_listed(root):
    (root / "images/test").mkdir()
    data = describe(
        root, "names: {3: a, 7: b}\ntrain: images/train\nval: images/val\ntest: images/test"
    )
    assert told(data) == [
        ("data.yaml", "test: images/test holds no images", "no images are taken from it")
    ]
    assert counts(data) == {"train": 6, "val": 3}


def test_a_list_may_be_relative_to_itself_wherever_the_data_are_seen_from(root, monkeypatch):
    (root / "images/train/list.txt").write_text("train0.png\ntrain1.png\n")
    (root / "data.yaml").write_text(
        "names: {3: a, 7: b}\ntrain: images/train/list.txt\nval: images/val"
    )
    for place, seen in ((root.parent, Path("data")), (root, Path()), (root, root)):
        monkeypatch.chdir(place)
        data = read_yolo(Source(seen))
        assert [s.path.name for s in data.splits["train"]] == ["train0.png", "train1.png"]
        assert all(s.path.exists() for s in data.samples())


def test_names_are_what_is_written(root):
    data = describe(root, "names: [010, 1:30, 7, 0, a]\ntrain: images/train")
    assert data.class_names == ("010", "1:30", "7", "0", "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "names: {3: a, 7: b}\ntrain: images/nothing",
            "train: images/nothing is not below .*; correct the path",
        ),
        ("names: {3: a, 7: b}\ntrain: ../../etc", r"train: \.\./\.\./etc is not below"),
        (
            "names: {3: a, 7: b}\ntrain: images/train\nval: images/train",
            "train0.png is in train and in val; keep it in",
        ),
        ("names: 7\ntrain: images/train", "names must be a list of class names, .* got 7"),
        ("names: []\ntrain: images/train", "names must be a list of class names"),
        ("names: {a: 1}\ntrain: images/train", "names must be a list of class names"),
        (
            "names: [a, a]\ntrain: images/train",
            "two classes have the same name: a, a; each needs its own",
        ),
        ("names: [a, b]\nnc: 3\ntrain: images/train", "nc is 3, but there are 2 names"),
        ("names: [a, b]\ntrain: ''\nval: ''", "leads to no images"),
        ("names: [a, b\ntrain: images/train", "cannot be read as YAML"),
        ("names: {3: a, 3: b}\ntrain: images/train", "the key '3' is there twice"),
        (
            "names: [NO, SE]\ntrain: images/train",
            "a class is called False; names must be text or whole numbers",
        ),
        ("names: [a, null]\ntrain: images/train", "a class is called None"),
        ("names: [a, 1.5]\ntrain: images/train", "a class is called 1.5"),
        ("names: [a, ' ']\ntrain: images/train", "a class is called ' '"),
        (
            "names: {3: a, 7: b}\ntrain: images/train\nval: empty",
            "val: empty holds no images of a kind that is read",
        ),
        (
            "names: {3: a, 7: b}\ntrain: images/train\nval: empty/a.txt",
            "val: empty/a.txt holds no images",
        ),
    ],
)
def test_descriptions_that_are_not_understood_are_refused(root, text, message):
    (root / "empty").mkdir()
    (root / "empty/a.txt").touch()
    with pytest.raises(InputError, match=f"data.yaml: .*{message}"):
        describe(root, text)


def test_other_yaml_files_describe_nothing(tmp_path):
    (tmp_path / "classes.yaml").write_text("names: [a, b]")
    (tmp_path / "odd.yaml").write_text("a: [")
    (tmp_path / "recipe.yml").write_text("train: yes")
    assert find_description(Source(tmp_path)) is None
    with pytest.raises(InputError, match=r"found no data.yaml with names, train and val"):
        read_yolo(Source(tmp_path))
    for name in ("coco8.yaml", "herd.yaml"):
        (tmp_path / name).write_text("names: [a]\ntrain: images")
    with pytest.raises(
        InputError, match=r"coco8.yaml and herd.yaml all describe YOLO data; keep one"
    ):
        find_description(Source(tmp_path))
    (tmp_path / "data.yaml").write_text("names: [a]\ntrain: images")
    assert find_description(Source(tmp_path)) == tmp_path / "data.yaml"


BEHIND = "numbers behind the class, expected 4 of a box or those of a polygon"


@pytest.fixture
def one(tmp_path):
    """One image whose labels are written through a function; gives its sample and the issues."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("L", (40, 20)).save(tmp_path / "images/a.png")
    (tmp_path / "data.yaml").write_text("names: [sheep, dog]\ntrain: images")

    def write(text):
        (tmp_path / "labels/a.txt").write_text(text)
        data = read_yolo(Source(tmp_path))
        return data.splits["train"][0], told(data)

    return write


def test_boxes_and_polygons_become_pixels(one):
    sample, issues = one("1 0.5 0.5 0.25 0.5\n\n  0 0.1 0.1 0.3 0.1 0.3 0.6 0.1 0.6\n")
    assert sample.objects.boxes == pytest.approx(np.array([[15, 5, 25, 15], [4, 2, 12, 12]]))
    assert sample.objects.labels.tolist() == [1, 0]
    assert sample.objects.have_masks.tolist() == [False, True]
    assert sample.size == (40, 20)
    assert not issues


@pytest.mark.parametrize("points", [".45 .45 .55 .5 .6 .58", ".45 .45 2 .55 .5 2 .6 .58 1"])
def test_of_objects_with_key_points_the_boxes_are_used(one, tmp_path, points):
    (tmp_path / "data.yaml").write_text("names: [sheep, dog]\ntrain: images\nkpt_shape: [3, 2]")
    sample, issues = one(f"1 0.5 0.5 0.25 0.5 {points}\n0 0.5 0.5\n")
    assert sample.objects.boxes.tolist() == [pytest.approx([15, 5, 25, 15])]
    assert not sample.objects.have_masks.any()
    assert issues == [
        ("data.yaml", "kpt_shape: objects have key points", "their boxes alone are used"),
        ("a.txt", f"line 2: 2 {BEHIND}", "dropped"),
    ]


@pytest.mark.parametrize(
    ("line", "what", "done"),
    [
        ("2 0.5 0.5 0.2 0.2", "line 1: class 2 is none of 0-1", "dropped"),
        ("-1 0.5 0.5 0.2 0.2", "line 1: class -1 is none of 0-1", "dropped"),
        ("0.5 0.5 0.5 0.2 0.2", "line 1: class 0.5 is none of 0-1", "dropped"),
        ("dog 0.5 0.5 0.2 0.2", "line 1: class dog is none of 0-1", "dropped"),
        (
            "0 0.5 0.5",
            "line 1: 2 numbers behind the class, expected 4 of a box or those of a polygon",
            "dropped",
        ),
        (
            "0",
            "line 1: 0 numbers behind the class, expected 4 of a box or those of a polygon",
            "dropped",
        ),
        ("0 0.5 0.5 0 0.2", "line 1: box [20, 8, 20, 12] has no area", "dropped"),
        ("0 0.5 0.5 -0.2 0.2", "line 1: box [24, 8, 16, 12] is inverted", "dropped"),
        ("0 0.5 nan 0.2 0.2", "line 1: box [16, nan, 24, nan] is not finite", "dropped"),
        ("0 0.5 0.5 0.2 wide", "line 1: box [16, nan, 24, nan] is not finite", "dropped"),
        (
            "0 1.5 0.5 0.2 0.2",
            "line 1: box [56, 8, 64, 12] lies outside the image of 40 x 20 pixels",
            "dropped",
        ),
        (
            "0 20 10 8 4",
            "line 1: box [640, 160, 960, 240] lies outside the image of 40 x 20 pixels",
            "dropped",
        ),
        (
            "0 1 0.5 0.2 0.2",
            "line 1: box [36, 8, 44, 12] reaches outside the image of 40 x 20 pixels",
            "clipped",
        ),
        (
            "0 .1 .1 .3 .1 .3 .6 .1",
            f"line 1: 7 {BEHIND}; remove the last if it is a confidence or a track number",
            "dropped",
        ),
        (
            "0 .5 .5 .2 .2 .93",
            f"line 1: 5 {BEHIND}; remove the last if it is a confidence or a track number",
            "dropped",
        ),
    ],
)
def test_what_is_wrong_with_a_line_is_listed(one, line, what, done):
    sample, issues = one(f"{line}\n1 0.5 0.5 0.25 0.5\n")
    assert issues[0] == ("a.txt", what, done)
    assert len(issues) == 1
    assert sample.objects.boxes.tolist()[-1] == pytest.approx([15, 5, 25, 15])
    assert len(sample.objects) == (1 if done == "dropped" else 2)


def test_values_slightly_over_1_are_no_mistake(one):
    sample, issues = one("0 0.5 0.5 1.0019 1.0018\n0 0 0 1.0009 0 1.0009 1 0 1")
    assert sample.objects.boxes.tolist() == [[0, 0, 40, 20]] * 2
    assert not issues


def test_labels_that_cannot_be_read_are_for_the_audit_to_tell(one, tmp_path):
    (tmp_path / "labels/a.txt").write_bytes(b"\xff\xfe0 0.5")
    sample = read_yolo(Source(tmp_path)).splits["train"][0]
    assert sample.error.startswith(f"its labels {tmp_path / 'labels/a.txt'} cannot be read: ")


def test_files_without_a_partner_are_listed(one, tmp_path):
    (tmp_path / "labels/b.txt").touch()
    Image.new("L", (40, 20)).save(tmp_path / "images/c.png")
    (tmp_path / "images/notes.md").touch()
    data = read_yolo(Source(tmp_path))
    assert [(Path(i.file).name, i.what, i.done) for i in data.issues] == [
        ("notes.md", "file name does not end as an image's", "left out"),
        ("b.txt", "annotation without an image", "left out"),
        ("a.txt", "no such label file", "its image is taken to have no objects"),
        ("c.txt", "no such label file", "its image is taken to have no objects"),
    ]
    assert [len(s.objects) for s in data.samples()] == [0, 0]


def test_an_image_that_cannot_be_opened_has_no_objects(one, tmp_path):
    (tmp_path / "images/a.png").write_text("no image")
    sample, issues = one("0 0.5 0.5 0.2 0.2")
    assert (len(sample.objects), sample.size) == (0, (0, 0))
    assert not issues


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("train/images/a.b.jpg", "train/labels/a.b.txt"),
        ("images/images/a.jpg", "images/labels/a.txt"),
        ("train/a.jpg", "train/a.txt"),
    ],
)
def test_labels_lie_where_yolo_puts_them(image, labels):
    root = Path("/images/data")
    assert label_file(root / image, root) == root / labels


@given(st.text(alphabet="01.-e na\n\t", max_size=60))
def test_no_text_stops_the_reading(tmp_path_factory, text):
    root = tmp_path_factory.mktemp("wild")
    Image.new("L", (40, 20)).save(root / "a.png")
    (root / "a.txt").write_text(text)
    (root / "data.yaml").write_text("names: [sheep, dog]\ntrain: .")
    (sample,) = read_yolo(Source(root)).splits["train"]
    lines = [line for line in text.splitlines() if line.strip()]
    dropped = [i for i in read_yolo(Source(root)).issues if i.done == "dropped"]
    assert len(sample.objects) + len(dropped) == len(lines)


AMBIGUOUS = "may be a polygon of 3 points, or a box with confidence and track number"
POSES = "may be a polygon, or a box with key points"
BOX = ".5 .5 .4 .4"
POLYGON = ".1 .1 .3 .1 .3 .6 .2 .7 .1 .6"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (f"0 {BOX} .87 1", [AMBIGUOUS]),
        (f"0 {BOX} .87 3", ["6 numbers behind the class, and 3 is no share of a side"]),
        ("0 .1 .1 .3 .1 .3 .6", [AMBIGUOUS]),
        (f"0 .1 .1 .3 .1 .3 .6\n0 {POLYGON}", []),
        (f"0 {BOX} .45 .45 .55 .5 .6 .58\n1 {BOX} .41 .45 .55 .5 .6 .58", [POSES] * 2),
        (f"0 {BOX} .45 .45 2 .55 .5 1", [POSES]),
        ("0 .1 .1 .3 .1 .3 .6 .1 .6\n0 .6 .6 .8 .6 .8 .8 .6 .8", []),
        (f"0 {BOX} .45 .45 .55 .5\n" * 8, [POSES] * 8),
    ],
)
def test_what_may_be_a_polygon_or_something_else_is_refused_with_its_line(one, text, faults):
    sample, issues = one(f"{text}\n1 0.2 0.2 0.1 0.1")
    assert [what.partition(": ")[0] for _, what, _ in issues] == [
        f"line {number}" for number in range(1, len(faults) + 1)
    ]
    assert all(fault in what for fault, (_, what, _) in zip(faults, issues, strict=True))
    assert {done for *_, done in issues} <= {"dropped"}
    assert sample.objects.boxes[-1] == pytest.approx([6, 3, 10, 5])


def test_label_files_may_be_spelled_in_capitals(one, tmp_path):
    one(f"0 {BOX}")
    (tmp_path / "labels/a.txt").rename(tmp_path / "labels/A.TXT")
    data = read_yolo(Source(tmp_path))
    assert len(data.splits["train"][0].objects) == 1
    assert not data.issues


def test_labels_beside_images_in_a_folder_called_images_are_read(one, tmp_path):
    one(f"0 {BOX}")
    (tmp_path / "labels/a.txt").rename(tmp_path / "images/a.txt")
    data = read_yolo(Source(tmp_path))
    assert len(data.splits["train"][0].objects) == 1
    assert not data.issues
    (tmp_path / "labels/a.txt").write_text("")
    (stray,) = read_yolo(Source(tmp_path)).issues
    assert (stray.file, stray.severity) == (str(tmp_path / "images/a.txt"), "problem")


def test_labels_that_lack_are_a_problem(one, tmp_path):
    one("")
    (tmp_path / "labels/a.txt").unlink()
    (issue,) = read_yolo(Source(tmp_path)).issues
    assert (issue.what, issue.severity) == ("no such label file", "problem")


def test_lines_that_are_there_twice_count_once(one):
    sample, issues = one(f"0 {BOX}\n0 {BOX}\n1 {BOX}")
    assert sample.objects.labels.tolist() == [0, 1]
    assert issues == [
        ("a.txt", "line 2: the same class and box as line 1", "dropped, being the same")
    ]


@pytest.mark.parametrize("prefix", ["", "data/"])
def test_darknets_files_are_read_as_cvat_writes_them(tmp_path, prefix):
    for split in ("train", "valid"):
        folder = tmp_path / f"obj_{split}_data"
        folder.mkdir()
        Image.new("RGB", (40, 20)).save(folder / f"{split}.png")
        (folder / f"{split}.txt").write_text(f"1 {BOX}\n")
        (tmp_path / f"{split}.txt").write_text(f"{prefix}obj_{split}_data/{split}.png\n")
    (tmp_path / "obj.names").write_text("red\ngreen\n")
    lines = [f"train = {prefix}train.txt", f"valid = {prefix}valid.txt"]
    lines += ["classes = 2", f"names = {prefix}obj.names", "backup = backup/"]
    (tmp_path / "obj.data").write_text("\n".join(lines))
    assert find_task(tmp_path) == "detection"
    data = read_yolo(Source(tmp_path))
    assert (counts(data), data.class_names) == ({"train": 1, "val": 1}, ("red", "green"))
    assert [len(sample.objects) for sample in data.samples()] == [1, 1]
    assert not data.issues
    (tmp_path / "obj.names").unlink()
    with pytest.raises(InputError, match=r"obj.names is not there; add it"):
        read_yolo(Source(tmp_path))


@pytest.mark.parametrize("letters", ["9" * 300, "x" * 5000])
def test_a_name_that_no_file_can_have_is_refused(root, letters):
    with pytest.raises(InputError, match="correct the path") as refused:
        describe(root, f"train: images/{letters}\nval: images/val\nnames: [cat, dog]\n")
    assert len(str(refused.value)) < 1000


def corners(middle, across, angle):
    """The numbers of a turned rectangle in an image of 40 x 20 pixels."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    around = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * across / 2
    points = (np.array(middle) + around @ turn) / (40, 20)
    return " ".join(f"{value:.4f}" for value in points.flatten())


def test_oriented_boxes_are_told_and_read_as_polygons(one):
    """Their corners are no key points, wherever they lie."""
    lines = [f"0 {corners((24 + n, 12), (8, 4), 0.3 + n)}" for n in range(9)]
    sample, issues = one("\n".join(lines))
    what = "line 1: all objects are four corners of turned rectangles, as YOLO's oriented boxes"
    assert issues == [
        ("a.txt", f"{what} (OBB) are", "read as polygons, with upright boxes around them")
    ]
    assert sample.objects.have_masks.all()
    assert len(sample.objects) == 9
    sample, issues = one("\n".join(f"0 {corners((24 + n, 12), (8, 4), 0)}" for n in range(9)))
    assert (len(sample.objects), issues) == (9, [])


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (f"0 {corners((20, 10), (8, 4), 0.3)} .87", "the confidence of an oriented box"),
        (f"0 {BOX} " + ".45 .45 2 " * 17, r"write kpt_shape: \[17, 3\] into data.yaml"),
        (f"0 {BOX} .45 .45 1", r"write kpt_shape: \[1, 3\] into data.yaml"),
        (f"0 {BOX} 12", "remove the last if it is a confidence or a track number"),
        (f"0 {BOX} .9 12", "12 is no share of a side; remove confidences and track"),
        (f"0 {corners((20, 10), (8, 4), 0.3)}", r"oriented boxes \(OBB\)"),
    ],
)
def test_poses_tracks_and_oriented_boxes_are_told_with_their_line(one, tmp_path, line, hint):
    """Also where train and val are the same, which is refused before."""
    _, ((name, what, _), *_) = one(line)
    assert name == "a.txt"
    assert what.startswith("line 1: ")
    assert re.search(hint, what)
    (tmp_path / "data.yaml").write_text("names: [sheep, dog]\ntrain: images\nval: images")
    with pytest.raises(InputError, match=rf"keep it in one; and .*a\.txt: line 1: .*{hint}"):
        read_yolo(Source(tmp_path))
