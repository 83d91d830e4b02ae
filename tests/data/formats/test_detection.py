"""Every format gives the same objects; classes are matched by name, ids kept.

The evaluator agrees with itself.
"""

import json
import math

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from nommer.data.detection_audit import audit_detection
from nommer.data.formats.detection import as_coco, read_detection
from nommer.data.formats.find import find_task
from nommer.data.formats.labelled import read_split, split_as_csv, split_randomly
from nommer.data.formats.objects import masks_of
from nommer.errors import InputError

FORMATS = ["coco", "roboflow", "yolo", "yolo polygons", "voc", "maps"]
WITH_MASKS = {"coco", "roboflow", "yolo polygons", "maps"}


def contents(data):
    """NAME -> [(class, box), ...] of each split."""
    return {
        split: {
            s.path.stem: sorted(
                (data.class_names[label], tuple(round(v, 6) for v in box))
                for label, box in zip(s.objects.labels, s.objects.boxes.tolist(), strict=True)
            )
            for s in part
        }
        for split, part in data.splits.items()
    }


@pytest.mark.parametrize("layout", FORMATS)
def test_every_format_gives_the_same_objects(tmp_path, herd, write_herd, digest, layout):
    root = write_herd(tmp_path, herd, layout)
    before = digest(root)
    assert find_task(root) == "detection"
    data = read_detection(root)
    names = dict.fromkeys((3, 7), "object") if layout == "maps" else {3: "sheep", 7: "dog"}
    expected = {
        split: {
            name: sorted((names[i], tuple(map(float, box))) for i, box in objects)
            for name, objects in part.items()
        }
        for split, part in herd.items()
    }
    assert contents(data) == expected
    assert list(data.splits) == ["train", "val", "test"]
    assert data.has_masks == (layout in WITH_MASKS)
    assert {s.size for s in data.samples()} == {(40, 32)}
    assert len({s.image_id for s in data.samples()}) == len(data.samples())
    for sample in data.samples():
        areas = (sample.objects.boxes[:, 2:] - sample.objects.boxes[:, :2]).prod(1)
        assert sample.objects.areas == pytest.approx(areas)
        if data.has_masks:
            masks = masks_of(sample.objects, 32, 40)
            assert masks.shape == (len(areas), 32, 40)
            assert masks.sum((1, 2)).tolist() == areas.tolist()
            for mask, (left, upper, right, lower) in zip(
                masks, sample.objects.boxes.astype(int), strict=True
            ):
                assert mask[upper:lower, left:right].all()
    assert digest(root) == before


@pytest.mark.parametrize(
    ("layout", "names", "ids"),
    [
        ("coco", ("sheep", "dog"), (3, 7)),
        ("roboflow", ("sheep", "dog"), (3, 7)),
        ("yolo", ("sheep", "dog"), (3, 7)),
        ("voc", ("dog", "sheep"), (1, 2)),
        ("maps", ("object",), (1,)),
    ],
)
def test_category_ids_are_kept(tmp_path, herd, write_herd, layout, names, ids):
    data = read_detection(write_herd(tmp_path, herd, layout))
    assert (data.class_names, data.category_ids) == (names, ids)


def test_labels_come_in_the_order_of_a_models_classes(tmp_path, herd, write_herd):
    root = write_herd(tmp_path, herd, "coco")
    data = read_detection(root, class_names=("cow", "dog", "sheep", "goat"))
    assert contents(data) == contents(read_detection(root))
    assert data.category_ids[1:3] == (7, 3)
    assert len(set(data.category_ids)) == 4, "classes that the data lacks have ids of their own"
    with pytest.raises(
        InputError,
        match=r"class dog is not among the model's classes; found 2: sheep, dog; expected 2: ",
    ):
        read_detection(root, class_names=("sheep", "cow"))


def test_a_test_split_alone_is_evaluated_on(tmp_path, herd, write_herd):
    root = write_herd(tmp_path, {"train": herd["train"], "test": herd["test"]}, "voc")
    assert list(read_detection(root).splits) == ["train", "val"]
    only = write_herd(tmp_path / "only", {"test": herd["test"]}, "coco")
    with pytest.raises(
        InputError,
        match="holds test but nothing to train on; accepted layouts for object detection",
    ):
        read_detection(only)
    assert list(read_detection(only, class_names=("dog", "sheep")).splits) == ["val"]


def test_what_is_no_detection_data_is_shown_the_layouts(tmp_path):
    (tmp_path / "things").mkdir()
    with pytest.raises(
        InputError, match=r"found no images with objects; accepted layouts for object detection"
    ):
        read_detection(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_detection(tmp_path / "nowhere")


def test_a_split_is_seeded_written_and_read_back(tmp_path, herd, write_herd):
    data = read_detection(write_herd(tmp_path, {"train": herd["train"]}, "yolo"))
    split = split_randomly(data, fraction=0.3, seed=4)
    assert {name: len(part) for name, part in split.splits.items()} == {"train": 4, "val": 2}
    assert contents(split) == contents(split_randomly(data, fraction=0.3, seed=4))
    (tmp_path / "split.csv").write_text(split_as_csv(split))
    assert read_split(tmp_path, tmp_path / "split.csv")["val"] == {
        s.path for s in split.splits["val"]
    }
    assert "images/train/train0.png,train,3" in split_as_csv(data)


@pytest.mark.parametrize("layout", ["coco", "voc", "maps"])
def test_the_objects_as_coco_are_those_of_the_file(tmp_path, herd, write_herd, layout):
    root = write_herd(tmp_path, herd, layout)
    data = read_detection(root)
    content = json.loads(json.dumps(as_coco(data, data.splits["train"])))
    assert len(content["images"]) == 6
    assert [a["id"] for a in content["annotations"]] == list(
        range(1, 1 + len(content["annotations"]))
    )
    if layout == "coco":
        original = json.loads((root / "annotations/instances_train2017.json").read_text())
        assert [image["id"] for image in content["images"]] == [
            image["id"] for image in original["images"]
        ]
        assert content["categories"] == original["categories"]
        for found, expected in zip(content["annotations"], original["annotations"], strict=True):
            for key in ("image_id", "category_id", "bbox", "area", "iscrowd"):
                assert found[key] == expected[key]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_evaluator_finds_the_objects_perfect_and_agrees_with_the_original_file(
    tmp_path, herd, write_herd, kind
):
    root = write_herd(tmp_path, herd, "coco")
    data = audit_detection(read_detection(root)).data
    content = as_coco(data, data.splits["val"])
    results = [
        {key: annotation[key] for key in ("image_id", "category_id", "bbox", "segmentation")}
        | {"score": 0.9}
        for annotation in content["annotations"]
    ]
    for truth in (content, json.loads((root / "annotations/instances_val2017.json").read_text())):
        evaluation = COCOeval_faster(COCO(truth), COCO(truth).loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert math.isclose(evaluation.stats[0], 1, abs_tol=1e-9)


def test_crowds_stay_for_the_evaluator_alone(tmp_path, coco_content, herd, write_herd):
    root = write_herd(tmp_path, herd, "coco")
    path = root / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    flags = np.zeros((32, 40), bool)
    flags[5:20, 3:30] = True
    counts = [3 * 32 + 5, *[15, 17] * 26, 15, 12 + 10 * 32]
    content["annotations"][0] |= {
        "iscrowd": 1,
        "segmentation": {"size": [32, 40], "counts": counts},
    }
    path.write_text(json.dumps(content))
    data = read_detection(root)
    first = data.splits["train"][0].objects
    assert first.crowd.tolist() == [True, False, False]
    assert masks_of(first, 32, 40)[0].tolist() == flags.astype(int).tolist()
    assert [a["iscrowd"] for a in as_coco(data, data.splits["train"])["annotations"]][:3] == [
        1,
        0,
        0,
    ]
