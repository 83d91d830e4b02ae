"""Detection and instance segmentation as a user runs them: formats, train, resume, evaluate, predict, explain."""

import csv
import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import nommer
from nommer.cli import main

CLASSES = {17: ("disc", (200, 40, 30)), 44: ("box", (40, 60, 200))}
"""By COCO category id, which have holes: name and colour."""

OPTIONS = [
    *("--model=nommer_micro", "--epochs=2", "--epoch-steps=2", "--batch-size=2", "--workers=0", "--device=cpu"),
    *("--detection.short-side=48", "--detection.fpn-channels=8", "--detection.box-channels=16"),
]
RUN_FOLDER = {
    *(
        "classes.json",
        "config.yaml",
        "confusion_matrix.png",
        "curves.png",
        "data_issues.jsonl",
        "detections.json",
        "environment.json",
    ),
    *("metrics.csv", "nominations.csv", "nominations.png", "per_class.csv", "precision_recall.png", "predictions.csv"),
    *("result.json", "split.csv", "train_batch.jpg", "val_predictions.jpg", "model/model.json"),
    *("checkpoints/best.ckpt", "checkpoints/last.ckpt", "model/model.safetensors"),
}


def draw(seed, size=(64, 48)):
    """An image (size is width, height) and its objects as (category id, box x, y, width, height)."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(100, 140, (size[1], size[0], 3)).astype(np.uint8))
    objects, pen = [], ImageDraw.Draw(image)
    for identifier, (name, colour) in CLASSES.items():
        if seed % 4 == 3:  # some images show nothing
            continue
        x, y, side = int(random.integers(1, size[0] - 20)), int(random.integers(1, size[1] - 20)), 16
        shape = pen.ellipse if name == "disc" else pen.rectangle
        shape((x, y, x + side - 1, y + side - 1), fill=colour)
        objects.append((identifier, x, y, side, side))
    return image, objects


def polygon(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def write_coco(root, *, masks):
    """As COCO ships: `train2017/`, `val2017/` and `annotations/instances_*2017.json`."""
    (root / "annotations").mkdir(parents=True)
    for split, seeds in (("train", range(6)), ("val", range(10, 14))):
        (root / f"{split}2017").mkdir()
        content = {"images": [], "annotations": []}
        content["categories"] = [{"id": i, "name": name, "supercategory": "x"} for i, (name, _) in CLASSES.items()]
        for seed in seeds:
            image, objects = draw(seed)
            image.save(root / f"{split}2017" / f"{seed:012}.jpg", quality=95)
            content["images"].append(
                {"id": 100 + seed, "file_name": f"{seed:012}.jpg", "width": image.width, "height": image.height}
            )
            for identifier, x, y, width, height in objects:
                annotation = {"id": len(content["annotations"]) + 7, "image_id": 100 + seed, "category_id": identifier}
                annotation |= {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0}
                annotation |= {"segmentation": polygon(x, y, width, height)} if masks else {}
                content["annotations"].append(annotation)
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return root


def write_yolo(root):
    names = {index: name for index, (name, _) in enumerate(CLASSES.values())}
    for split, seeds in (("train", range(6)), ("val", range(10, 14))):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for seed in seeds:
            image, objects = draw(seed)
            image.save(root / "images" / split / f"{seed}.png")
            lines = [
                f"{list(CLASSES).index(i)} {(x + w / 2) / 64} {(y + h / 2) / 48} {w / 64} {h / 48}"
                for i, x, y, w, h in objects
            ]
            (root / "labels" / split / f"{seed}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text(json.dumps({"train": "images/train", "val": "images/val", "names": names}))
    return root


def write_voc(root):
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split, seeds in (("train", range(6)), ("val", range(10, 14))):
        for seed in seeds:
            image, objects = draw(seed)
            image.save(root / "JPEGImages" / f"{seed:06}.jpg", quality=95)
            annotation = ElementTree.Element("annotation")
            ElementTree.SubElement(annotation, "filename").text = f"{seed:06}.jpg"
            size = ElementTree.SubElement(annotation, "size")
            for name, value in (("width", 64), ("height", 48), ("depth", 3)):
                ElementTree.SubElement(size, name).text = str(value)
            for i, x, y, w, h in objects:
                item = ElementTree.SubElement(annotation, "object")
                ElementTree.SubElement(item, "name").text = CLASSES[i][0]
                box = ElementTree.SubElement(item, "bndbox")
                for name, value in (("xmin", x + 1), ("ymin", y + 1), ("xmax", x + w), ("ymax", y + h)):
                    ElementTree.SubElement(box, name).text = str(value)
            ElementTree.ElementTree(annotation).write(root / "Annotations" / f"{seed:06}.xml")
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(f"{seed:06}" for seed in seeds))
    return root


def write_maps(root):
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    for split, seeds in (("train", range(6)), ("val", range(10, 14))):
        for seed in seeds:
            image, objects = draw(seed)
            image.save(root / "images" / f"{seed}.png")
            instances = np.zeros((48, 64), np.uint16)
            for number, (_, x, y, w, h) in enumerate(objects, start=1):
                instances[y : y + h, x : x + w] = number
            Image.fromarray(instances).save(root / "labels" / f"{seed}.png")
        (root / f"{split}.txt").write_text("\n".join(str(seed) for seed in seeds))
    return root


FORMATS = {
    "COCO with masks": lambda root: write_coco(root, masks=True),
    "YOLO": write_yolo,
    "VOC": write_voc,
    "instance maps": write_maps,
}


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def numbers(folder):
    found = json.loads((folder / "result.json").read_text())
    return {name: value for name, value in found.items() if name not in ("epoch", "model", "data", "split")}


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("coco") / "data", masks=False)


@pytest.fixture(scope="module")
def detected(tmp_path_factory, coco):
    """A run folder of a micro detector, trained through the command line; to be read only."""
    out = tmp_path_factory.mktemp("detected") / "run"
    assert main(["train", "--data", str(coco), "--out", str(out), *OPTIONS]) == 0
    return out


def test_the_run_folder_holds_what_is_promised(detected):
    found = {path.relative_to(detected).as_posix() for path in detected.rglob("*") if path.is_file()}
    assert {name for name in found if not name.startswith("tensorboard/")} == RUN_FOLDER
    described = json.loads((detected / "model" / "model.json").read_text())
    assert (described["task"], described["class_names"]) == ("detection", ["disc", "box"])
    assert described["category_ids"] == [17, 44]
    assert [row["step"] for row in rows(detected / "metrics.csv")] == ["2", "4"]


def test_evaluate_gives_the_numbers_that_training_ended_with(run, detected, tmp_path):
    run("evaluate", detected, "--out", tmp_path / "out", "--workers 0")
    assert numbers(tmp_path / "out") == numbers(detected)
    found = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {entry["category_id"] for entry in found} <= {17, 44}
    assert {entry["image_id"] for entry in found} <= {110, 111, 112, 113}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_trains_and_evaluates(run, tmp_path, name):
    data = FORMATS[name](tmp_path / "data")
    run("train --data", data, "--out", tmp_path / "run", *OPTIONS, "--epochs=1")
    found = numbers(tmp_path / "run")
    assert found["images"] == 4
    assert found["objects"] == 6
    assert ("mask_ap" in found) == (name in ("COCO with masks", "instance maps"))
    run("evaluate", tmp_path / "run", "--out", tmp_path / "out", "--workers 0")
    assert numbers(tmp_path / "out") == found


@pytest.mark.parametrize(
    "options", ["--detection.head cascade", "--model timm:test_resnet", "--detection.augment.hflip 0"]
)
def test_options_are_obeyed(run, coco, tmp_path, options):
    run("train --data", coco, "--out", tmp_path / "run", *OPTIONS, "--epochs=1", options)
    run("evaluate", tmp_path / "run", "--out", tmp_path / "out", "--workers 0")
    assert numbers(tmp_path / "out") == numbers(tmp_path / "run")


def test_the_same_command_gives_the_same_weights(run, coco, detected, tmp_path):
    run("train --data", coco, "--out", tmp_path / "again", *OPTIONS)
    found, expected = nommer.load(tmp_path / "again").state_dict(), nommer.load(detected).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_resuming_adds_epochs(run, coco, detected, tmp_path):
    shutil.copytree(detected, tmp_path / "run")
    printed = run("train --data", coco, "--out", tmp_path / "run", *OPTIONS, "--epochs=3 --resume")
    assert "going on after epoch 2 of 3" in printed.err
    assert [row["epoch"] for row in rows(tmp_path / "run" / "metrics.csv")] == ["1", "2", "3"]


def test_predict_writes_boxes_in_every_way(run, detected, coco, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    image = coco / "val2017" / "000000000010.jpg"
    options = "--threshold 0.01 --most 5"
    run("predict", detected, image, tmp_path / "broken.jpg", "--out", tmp_path / "out", options, code=1)
    good, bad = json.loads((tmp_path / "out" / "result.json").read_text())
    assert 0 < len(good["objects"]) <= 5
    assert "error" in bad
    for entry in good["objects"]:
        left, upper, right, lower = entry["box"]
        assert 0 <= left < right <= 64
        assert 0 <= upper < lower <= 48
    written = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert {entry["category_id"] for entry in written["annotations"]} <= {17, 44}
    yolo = (tmp_path / "out" / "labels" / "000000000010.txt").read_text().splitlines()
    assert len(yolo) == len(good["objects"]) == len(rows(tmp_path / "out" / "predictions.csv")) - 1
    with Image.open(tmp_path / "out" / "images" / "000000000010.png") as picture:
        assert min(picture.size) >= 48


def test_explain_tells_objects_from_background(run, detected, coco, tmp_path):
    run("explain", detected, coco / "val2017" / "000000000010.jpg", "--out", tmp_path / "out")
    (found,) = json.loads((tmp_path / "out" / "result.json").read_text())
    assert found["shares"]["stage 1 block 1"]
    with Image.open(tmp_path / "out" / "000000000010.png") as picture:
        assert min(picture.size) > 300


def test_mistakes_are_named(refused, detected, coco, segmented, tmp_path):
    options = ("--out", tmp_path / "run", *OPTIONS)
    assert "--image-size: for detection give" in refused("train --data", coco, *options, "--image-size 64")
    assert "--augment.hflip: does nothing for detection" in refused("train --data", coco, *options, "--augment.hflip 0")
    assert "no object has a mask" in refused("train --data", coco, *options, "--detection.masks true")
    assert "detectors cannot be exported yet" in refused("export", detected)
    assert "--top: does nothing for detection" in refused("predict", detected, coco / "val2017", "--top 3")
    assert "--inference.flip: does nothing for detection" in refused("evaluate", detected, "--inference.flip true")
    assert "--threshold: does nothing for segmentation" in refused(
        "predict", segmented, coco / "val2017", "--threshold 0.5"
    )
    assert "--threshold must be from 0 to 1, got 2" in refused("predict", detected, coco / "val2017", "--threshold 2")
    assert not (tmp_path / "run").exists()


def test_objects_that_are_dropped_are_listed(run, tmp_path):
    data = write_coco(tmp_path / "data", masks=False)
    path = data / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [5, 5, 0, 10]
    content["annotations"][1]["bbox"] = [50, 30, 30, 30]
    path.write_text(json.dumps(content))
    run("train --data", data, "--out", tmp_path / "run", *OPTIONS, "--epochs=1")
    issues = [json.loads(line) for line in (tmp_path / "run" / "data_issues.jsonl").read_text().splitlines()]
    assert {"dropped", "clipped"} <= {issue["done"] for issue in issues}
