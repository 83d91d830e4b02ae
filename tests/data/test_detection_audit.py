"""The audit of images with objects: what cannot be used is left out only as asked.

What is odd but usable is listed.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nommer.data.detection_audit import audit_detection
from nommer.data.findings import find_leaks
from nommer.data.formats.detection import read_detection
from nommer.errors import InputError


@pytest.fixture
def root(tmp_path, herd, write_herd):
    return write_herd(tmp_path, {"train": herd["train"], "val": herd["val"]}, "coco")


@pytest.fixture
def change(root):
    """Change the training file through a function of its content, and read the data."""
    path = root / "annotations/instances_train2017.json"

    def change(edit):
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))
        return read_detection(root)

    return change


def told(data):
    """Return the listed issues, but for those of every such data set."""
    usual = ("lies beside the annotations of instances", "has no objects")
    return [(Path(i.file).name, i.what, i.done) for i in data.issues if i.what not in usual]


def test_good_data_pass_unchanged_with_what_the_audit_learned(root, herd, digest):
    before, data = digest(root), read_detection(root)
    for policy in ("error", "auto", "skip"):
        for training in (True, False):
            audited = audit_detection(data, on_bad_sample=policy, training=training)
            assert audited.data.splits == data.splits
            assert audited.data.has_masks
            assert audited.short_side == 32
            assert not told(audited.data)
    expected = [
        sum(i == wanted for part in herd["train"].values() for i, _ in part) for wanted in (3, 7)
    ]
    assert audited.class_counts.tolist() == expected
    assert digest(root) == before


def test_the_same_image_is_found_in_two_splits_though_its_objects_differ(root):
    first, second = root / "train2017/train0.png", root / "val2017/val0.png"
    second.write_bytes(first.read_bytes())
    audited = audit_detection(read_detection(root))
    assert audited.contents[first] != audited.contents[second]
    assert str(second) in [issue.file for issue in find_leaks(audited.data, audited.digests)]


@pytest.mark.parametrize("layout", ["coco", "roboflow", "yolo", "yolo polygons", "voc", "maps"])
def test_images_without_objects_are_listed_and_used(tmp_path, herd, write_herd, layout):
    data = audit_detection(read_detection(write_herd(tmp_path, herd, layout))).data
    empty = {name for part in herd.values() for name, objects in part.items() if not objects}
    assert empty
    listed = {
        Path(i.file).stem
        for i in data.issues
        if (i.what, i.done) == ("has no objects", "used, as background alone")
    }
    assert listed == empty
    assert {s.path.stem for s in data.samples()} == {
        name for part in herd.values() for name in part
    }


def cut(root):
    path = root / "train2017/train0.png"
    path.write_bytes(path.read_bytes()[:60])


def resize(root):
    Image.new("L", (80, 64)).save(root / "train2017/train0.png")


def turn(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(root / "train2017/train0.png") as image:
        image.save(root / "train2017/train0.png", exif=exif)


BAD = {
    "cut": (cut, "cannot be decoded: "),
    "gone": (lambda root: (root / "train2017/train0.png").unlink(), "is listed in "),
    "other size": (
        resize,
        "is annotated as 40 x 32 pixels, but has 80 x 64; both must be the same",
    ),
    "only the image is turned": (
        turn,
        "is annotated as 40 x 32 pixels, but has 32 x 40; both must be the same; that is the image "
        "as stored, "
        "which the EXIF orientation 6 turns: remove the orientation from the image, or turn the "
        "annotations too",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD.keys())
def test_bad_images_are_refused_or_left_out_as_asked(root, digest, spoil, message):
    spoil(root)
    before, data = digest(root), read_detection(root)
    for policy, limit in (
        ("error", "none is allowed"),
        ("auto", "at most 1% is left out without being asked to"),
    ):
        with pytest.raises(InputError) as caught:
            audit_detection(data, on_bad_sample=policy)
        assert f"1 of 9 images cannot be used ({limit})" in str(caught.value)
        assert message in str(caught.value)
    audited = audit_detection(data, on_bad_sample="skip").data
    assert [s.path.stem for s in audited.splits["train"]] == [f"train{n}" for n in range(1, 6)]
    ((file, what, done),) = told(audited)
    assert (file, done) == ("train0.png", "left out")
    assert what.startswith(message)
    assert digest(root) == before


def test_annotations_that_cannot_be_read_make_a_bad_image(tmp_path, herd, write_herd):
    root = write_herd(tmp_path, herd, "voc")
    (root / "Annotations/train0.xml").write_text("<annotation>")
    audited = audit_detection(read_detection(root), on_bad_sample="skip").data
    assert [(file, done) for file, what, done in told(audited) if "box begins" not in what] == [
        ("train0.png", "left out")
    ]


def test_an_image_turned_by_half_is_listed(root):
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(root / "train2017/train0.png") as image:
        image.save(root / "train2017/train0.png", exif=exif)
    done = "turned; its objects are taken to fit the turned image"
    assert told(audit_detection(read_detection(root)).data) == [
        ("train0.png", "EXIF orientation 3", done)
    ]


def test_objects_without_masks_are_dropped_where_masks_are_learned(change, herd):
    data = change(lambda content: content["annotations"][0].update(segmentation=[[1, 1, 5, 5]]))
    count = len(herd["train"]["train0"])
    audited = audit_detection(data).data
    assert audited.has_masks
    assert len(audited.splits["train"][0].objects) == count - 1
    assert audited.splits["train"][0].objects.have_masks.all()
    assert told(audited) == [
        (
            "instances_train2017.json",
            "annotation 5000 (train0.png): polygon 1 has 2 points, expected 3 or more",
            "polygon dropped",
        ),
        (
            "train0.png",
            f"1 of {count} objects have no mask, and masks are learned",
            "1 objects dropped",
        ),
    ]
    boxes = audit_detection(data, masks=False).data
    assert not boxes.has_masks
    assert len(boxes.splits["train"][0].objects) == count


def test_a_few_masks_make_no_task_of_masks(root, herd):
    for split in ("train", "val"):
        path = root / f"annotations/instances_{split}2017.json"
        content = json.loads(path.read_text())
        for annotation in content["annotations"][1:]:
            annotation["segmentation"] = []
        path.write_text(json.dumps(content))
    data = read_detection(root)
    assert data.has_masks
    few = audit_detection(data).data
    assert not few.has_masks
    assert [len(s.objects) for s in few.splits["train"]] == [
        len(objects) for objects in herd["train"].values()
    ]
    asked = audit_detection(data, masks=True).data
    assert asked.has_masks
    assert sum(len(s.objects) for s in asked.splits["train"]) == 1


def test_masks_that_are_asked_for_must_be_there(tmp_path, herd, write_herd):
    data = read_detection(write_herd(tmp_path, herd, "voc"))
    with pytest.raises(
        InputError,
        match="no object has a mask, but masks are asked for; add them, or learn boxes alone",
    ):
        audit_detection(data, masks=True)


def test_nothing_to_learn_from_is_refused_with_the_likely_cause(change):
    def edit(content):
        for annotation in content["annotations"]:
            annotation |= {"bbox": [9, 9, 0, 0], "segmentation": []}

    data = change(edit)
    with pytest.raises(
        InputError,
        match=r"is left to learn in the training images; 10 were dropped, "
        r"the first because: .* box",
    ):
        audit_detection(data)
    assert audit_detection(data, training=False).class_counts.tolist() == [0, 0]


def test_crowds_alone_are_nothing_to_learn_from(change):
    def edit(content):
        for annotation in content["annotations"]:
            annotation["iscrowd"] = 1

    with pytest.raises(
        InputError,
        match=r"no object with a mask is left to learn .*; 0 were dropped; 10 are marked iscrowd",
    ):
        audit_detection(change(edit))


def test_classes_without_objects_are_listed(change):
    def edit(content):
        content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 3]
        content["categories"].append({"id": 9, "name": "cow"})

    data = change(edit)
    what = "2 of 3 classes have no object to learn from: dog, cow"
    assert told(audit_detection(data).data)[-1] == (data.root.name, what, "kept")


def test_more_than_255_objects_in_an_image_are_all_kept(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(2):
        Image.new("RGB", (60, 40)).save(tmp_path / f"images/{number}.png")
        values = np.kron(np.arange(1, 601).reshape(20, 30), np.ones((2, 2))).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / f"labels/{number}.png")
    audited = audit_detection(read_detection(tmp_path))
    assert audited.class_counts.tolist() == [1200]
    (issue,) = audited.data.issues
    assert issue.what.startswith("2 images have more than 100 objects, the most 600; by default")


def test_more_objects_than_answers_are_told(change):
    def add(content):
        one = content["annotations"][0] | {"iscrowd": 0, "area": 16}
        one.pop("segmentation", None)
        content["annotations"] += [
            {**one, "id": 10_000 + n, "bbox": [n % 30, n // 30, 4, 4]} for n in range(150)
        ]

    data = audit_detection(change(add), masks=False).data
    (issue,) = (i for i in data.issues if "answers are given per image" in i.what)
    assert "1 images have more than 100 objects, the most 15" in issue.what
    assert issue.done == "kept; raise --detection.protocol.most for training, --most for predict"


def test_a_model_of_masks_is_evaluated_by_boxes_where_no_object_has_a_mask(
    tmp_path, herd, write_herd
):
    data = read_detection(write_herd(tmp_path, herd, "voc"))
    evaluated = audit_detection(data, masks=True, training=False).data
    assert not evaluated.has_masks
    assert sum(len(sample.objects) for sample in evaluated.samples()) > 0
    assert [issue.done for issue in evaluated.issues if "mask" in issue.what] == [
        "boxes alone are evaluated"
    ]
