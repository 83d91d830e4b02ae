"""Instance maps: told from masks of classes, read with any numbers and any number of objects."""

import numpy as np
import pytest
from PIL import Image

from nommer.data.formats.detection import read_detection
from nommer.data.formats.find import find_task
from nommer.data.formats.instance_maps import find_maps, objects_in, read_instance_maps
from nommer.data.formats.objects import masks_of
from nommer.data.formats.source import Source
from nommer.errors import InputError


@pytest.fixture
def root(tmp_path, herd, write_herd):
    return write_herd(tmp_path, {"train": herd["train"], "val": herd["val"]}, "maps")


def test_objects_have_the_pixels_of_their_number():
    values = np.zeros((6, 9), np.uint16)
    values[1:3, 2:7], values[5, 0], values[5, 8], values[0, 0] = 500, 3, 3, 65_535
    objects = objects_in(values)
    assert objects.boxes.tolist() == [[0, 5, 9, 6], [2, 1, 7, 3], [0, 0, 1, 1]]
    assert objects.areas.tolist() == [2, 10, 1]
    assert objects.labels.tolist() == [0, 0, 0]
    assert not objects.crowd.any()
    for mask, number in zip(masks_of(objects, 6, 9), (3, 500, 65_535), strict=True):
        assert np.array_equal(mask, values == number)


def test_more_than_255_objects_stay_apart():
    values = np.arange(1, 901, dtype=np.uint16).reshape(30, 30)
    objects = objects_in(values)
    assert len(objects) == 900
    assert np.array_equal(
        (masks_of(objects, 30, 30) * np.arange(1, 901)[:, None, None]).sum(0), values
    )


def test_sixteen_bits_tell_them_from_masks_of_classes(root, write_layout, tmp_path):
    assert find_task(root) == "detection"
    write_layout(tmp_path / "eight", [("images/a.png", "labels/a.png")])
    assert find_maps(Source(tmp_path / "eight")) is None
    assert find_task(tmp_path / "eight") == "segmentation"
    (root / "labels").rename(root / "masks")
    assert find_task(root) == "segmentation", "16 bits in masks may be classes"


def test_a_class_file_tells_them_too(root, write_layout, tmp_path):
    (root / "classes.yaml").write_text("classes: [a, b]")
    assert find_task(root) == "segmentation"
    write_layout(
        tmp_path / "eight",
        [("images/train/a.png", "masks/train/a.png"), ("images/val/b.png", "masks/val/b.png")],
    )
    (tmp_path / "eight/classes.yaml").write_text("instances: true\nclasses: [nucleus]")
    assert find_task(tmp_path / "eight") == "detection"
    data = read_detection(tmp_path / "eight")
    assert data.class_names == ("nucleus",)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 1, "val": 1}


@pytest.mark.parametrize("lying_there", [[], ["classes.yaml"], ["classes.yaml", "classes.json"]])
def test_a_class_file_that_is_given_overrules_what_lies_in_the_folder(
    root, tmp_path_factory, lying_there
):
    for name in lying_there:
        (root / name).write_text("instances: [true")
    given = tmp_path_factory.mktemp("elsewhere") / "given.yaml"
    given.write_text("classes: [a, b]")
    assert find_task(Source(root, given)) == "segmentation", (
        "16 bits in labels/ are classes where a class file is given"
    )
    given.write_text("instances: true\nclasses: [a]")
    assert find_task(Source(root, given)) == "detection"
    with pytest.raises(
        InputError, match=r"given.txt: this class file cannot be read: No such file"
    ):
        find_task(Source(root, given.with_suffix(".txt")))


@pytest.mark.parametrize(
    "text", ["classes: [a]", "names: {0: a}", "classes: [{name: a}]", "classes: [' a ']"]
)
def test_the_class_has_a_name(root, text):
    (root / "classes.yaml").write_text(f"instances: true\n{text}")
    assert read_detection(root).class_names == ("a",)


@pytest.mark.parametrize(
    "text",
    ["classes: [a, b]", "classes: a", "classes: []", "classes: [7]", "classes: [{name: ' '}]"],
)
def test_other_than_one_class_is_refused(root, text):
    (root / "classes.yaml").write_text(f"instances: true\n{text}")
    with pytest.raises(
        InputError,
        match=r"instance maps hold one class, but the class file says .*write a classes.yaml",
    ):
        read_detection(root)


def test_without_a_class_file_it_is_an_object(root):
    assert read_detection(root).class_names == ("object",)


def test_maps_that_cannot_be_read_are_for_the_audit_to_tell(root):
    (root / "labels/train0.png").unlink()
    (root / "labels/train1.png").write_text("no image")
    first, second, *others = read_instance_maps(Source(root)).splits["train"]
    assert first.error == f"has no instance map: expected {root / 'labels/train0.png'}"
    assert second.error.startswith(
        f"its instance map {root / 'labels/train1.png'}: not an image of a known format"
    )
    assert not any(sample.error for sample in others)


def test_a_map_of_another_size_is_kept_for_the_audit(root):
    Image.fromarray(np.ones((5, 7), np.uint16)).save(root / "labels/train0.png")
    assert read_instance_maps(Source(root)).splits["train"][0].size == (7, 5)


def test_what_is_no_map_is_refused(tmp_path):
    with pytest.raises(InputError, match="found no instance maps; accepted are"):
        read_instance_maps(Source(tmp_path))


@pytest.mark.slow
def test_dsb2018_has_the_objects_that_it_says(shared_data, tmp_path):
    import tarfile  # noqa: PLC0415

    with tarfile.open(shared_data / "dsb2018" / "dsb2018_stage1.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    data = read_detection(tmp_path)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 532, "val": 132}
    counts = [len(sample.objects) for sample in data.samples()]
    assert (sum(counts), min(counts), max(counts)) == (28_986, 1, 375)
    assert not data.issues
