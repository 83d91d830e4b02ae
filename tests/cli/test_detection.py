"""Detection and instance segmentation as a user runs them.

Formats, train, resume, evaluate, predict, explain.
"""

import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import nommer
from nommer.cli import main
from tests.run_contents import checkpoint, rows
from tests.sketches import drawn

pytestmark = pytest.mark.usefixtures("sketched")

CLASSES = {17: ("disc", (200, 40, 30)), 44: ("box", (40, 60, 200))}
"""By COCO category id, which have holes: name and colour."""

OPTIONS = [
    *(
        "--model=nommer_micro",
        "--epochs=2",
        "--epoch-steps=2",
        "--batch-size=2",
        "--workers=0",
        "--device=cpu",
    ),
    *("--detection.short-side=48", "--detection.fpn-channels=8", "--detection.box-channels=16"),
]
RUN_FOLDER = {
    *(
        ".lock",
        "calibration.png",
        "classes.json",
        "config.yaml",
        "confusion_matrix.png",
        "curves.png",
        "data_issues.jsonl",
        "detections.json",
        "environment.json",
    ),
    *(
        "metrics.csv",
        "nominations.csv",
        "nominations.png",
        "per_class.csv",
        "precision_recall.png",
        "predictions.csv",
    ),
    *("result.json", "split.csv", "train_batch.jpg", "val_predictions.jpg", "model/model.json"),
    *("checkpoints/best.ckpt", "checkpoints/last.ckpt", "model/model.safetensors"),
}


def draw(seed, size=(64, 48)):
    """An image (size is width, height), objects as (category id, box x, y, width, height)."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(100, 140, (size[1], size[0], 3)).astype(np.uint8))
    objects, pen = [], ImageDraw.Draw(image)
    for identifier, (name, colour) in CLASSES.items():
        if seed % 4 == 3:  # some images show nothing
            continue
        x, y, side = (
            int(random.integers(1, size[0] - 20)),
            int(random.integers(1, size[1] - 20)),
            16,
        )
        shape = pen.ellipse if name == "disc" else pen.rectangle
        shape((x, y, x + side - 1, y + side - 1), fill=colour)
        objects.append((identifier, x, y, side, side))
    return image, objects


def polygon(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def write_coco(root, *, masks):
    """As COCO ships: `train2017/`, `val2017/`, `annotations/instances_*2017.json` and other
    annotations beside.

    With masks, most are polygons and one is a crowd in run lengths.
    """
    (root / "annotations").mkdir(parents=True)
    for split, seeds in (("train", range(6)), ("val", range(10, 14))):
        (root / f"{split}2017").mkdir()
        content = {
            "info": {"description": "COCO 2017 Dataset", "version": "1.0", "year": 2017},
            "licenses": [
                {
                    "url": "http://creativecommons.org/licenses/by/2.0/",
                    "id": 4,
                    "name": "Attribution",
                }
            ],
        }
        content["images"], content["annotations"] = images, annotations = [], []
        content["categories"] = [
            {"id": i, "name": name, "supercategory": "x"} for i, (name, _) in CLASSES.items()
        ]
        for seed in seeds:
            image, objects = draw(seed)
            name = f"{seed:012}.jpg"
            image.save(root / f"{split}2017" / name, quality=95)
            entry = {
                "license": 4,
                "file_name": name,
                "coco_url": f"http://images.cocodataset.org/{split}2017/{name}",
            }
            entry |= {
                "height": image.height,
                "width": image.width,
                "date_captured": "2013-11-14 17:02:52",
            }
            images.append(
                entry | {"flickr_url": f"http://farm7.staticflickr.com/{name}", "id": 100 + seed}
            )
            for identifier, x, y, width, height in objects:
                annotation = {"segmentation": polygon(x, y, width, height)} if masks else {}
                annotation |= {"area": width * height, "iscrowd": 0, "image_id": 100 + seed}
                annotation |= {"bbox": [x, y, width, height], "category_id": identifier}
                annotations.append(annotation | {"id": len(annotations) + 7})
        if masks and split == "train":
            column = 48  # counts run down the columns; the first two are the crowd
            crowd = {
                "segmentation": {"counts": [0, 2 * column, 62 * column], "size": [48, 64]},
                "iscrowd": 1,
            }
            crowd |= {"area": 2 * column, "image_id": 100, "bbox": [0, 0, 2, 48], "category_id": 17}
            annotations.append(crowd | {"id": 900100000017})
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
        captions = content | {"annotations": [{"image_id": 100, "id": 1, "caption": "A disc."}]}
        (root / "annotations" / f"captions_{split}2017.json").write_text(json.dumps(captions))
    return root


def write_roboflow(root):
    """As Roboflow exports COCO.

    A folder per split with images and `_annotations.coco.json`, and a group of classes.
    """
    write_coco(root / "coco", masks=True)
    for split, folder in (("train", "train"), ("val", "valid")):
        shutil.move(root / "coco" / f"{split}2017", root / folder)
        content = json.loads(
            (root / "coco" / "annotations" / f"instances_{split}2017.json").read_text()
        )
        content["categories"].insert(0, {"id": 0, "name": "shapes", "supercategory": "none"})
        for entry in content["categories"][1:]:
            entry["supercategory"] = "shapes"
        (root / folder / "_annotations.coco.json").write_text(json.dumps(content))
    shutil.rmtree(root / "coco")
    return root


def write_yolo(root, *, masks=False):
    """Rows of a class and a box, or with masks a class and a polygon."""

    def row(number, x, y, width, height):
        across, down = (x, x + width, x + width, x), (y, y, y + height, y + height)
        corners = [
            value
            for corner in zip(across, down, strict=True)
            for value in (corner[0] / 64, corner[1] / 48)
        ]
        box = [(x + width / 2) / 64, (y + height / 2) / 48, width / 64, height / 48]
        return " ".join(map(str, [number, *(corners if masks else box)]))

    names = {index: name for index, (name, _) in enumerate(CLASSES.values())}
    for split, seeds in (("train", range(6)), ("val", range(10, 14))):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for seed in seeds:
            image, objects = draw(seed)
            image.save(root / "images" / split / f"{seed}.png")
            lines = [row(list(CLASSES).index(identifier), *box) for identifier, *box in objects]
            (root / "labels" / split / f"{seed}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text(
        json.dumps({"train": "images/train", "val": "images/val", "names": names})
    )
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
                for name, value in (
                    ("xmin", x + 1),
                    ("ymin", y + 1),
                    ("xmax", x + w),
                    ("ymax", y + h),
                ):
                    ElementTree.SubElement(box, name).text = str(value)
            ElementTree.ElementTree(annotation).write(root / "Annotations" / f"{seed:06}.xml")
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(
            "\n".join(f"{seed:06}" for seed in seeds)
        )
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
    "Roboflow": write_roboflow,
    "YOLO": write_yolo,
    "YOLO with polygons": lambda root: write_yolo(root, masks=True),
    "VOC": write_voc,
    "instance maps": write_maps,
}


def numbers(folder):
    found = json.loads((folder / "result.json").read_text())
    facts = ("epoch", "model", "data", "split", "precision", "runtime")
    return {name: value for name, value in found.items() if name not in facts}


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("coco") / "data", masks=False)


@pytest.fixture(scope="module")
def detected(tmp_path_factory, coco):
    """A run folder of a micro detector, trained through the command line; to be read only."""
    out = tmp_path_factory.mktemp("detected") / "run"
    with drawn():
        assert main(["train", "--data", str(coco), "--out", str(out), *OPTIONS]) == 0
    return out


def test_a_teacher_of_timm_is_imitated_at_every_size(run, coco, of_timm, tmp_path):
    told = run("train --data", coco, "--out", tmp_path / "run", *OPTIONS, *of_timm)
    assert "are imitated, not its answers, which are not asked for in detection" in told.err
    state = checkpoint(tmp_path / "run", "last")["state_dict"]
    assert any(name.startswith("distillation.projections.0.") for name in state)


def test_the_run_folder_holds_what_is_promised(detected):
    found = {
        path.relative_to(detected).as_posix() for path in detected.rglob("*") if path.is_file()
    }
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


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor:UserWarning"
)  # torch's own, hidden without pytest
@pytest.mark.long
@pytest.mark.slow
def test_blocks_are_compiled_for_images_of_many_sizes(
    run, refused, detected, coco, whole_graphs, tmp_path
):
    """Training is evaluated uncompiled; a backbone without blocks cannot be trained so."""
    run("evaluate", detected, "--compile --out", tmp_path / "out", "--workers 0")
    parts = len(whole_graphs.functions)
    assert 8 < parts <= len(whole_graphs.graphs)
    evaluated, told = numbers(tmp_path / "out"), numbers(detected)
    assert evaluated["box_ap"] == pytest.approx(told["box_ap"], abs=1e-3)
    whole_graphs.graphs.clear()
    run("train --data", coco, "--compile --out", tmp_path / "run", *OPTIONS)
    assert len(whole_graphs.functions) == 2 * parts
    assert len(whole_graphs.graphs) >= parts
    one, other = (
        nommer.load(folder).network.state_dict() for folder in (tmp_path / "run", detected)
    )
    assert one.keys() == other.keys()
    message = refused(
        "train --data",
        coco,
        "--compile --out",
        tmp_path / "peer",
        *OPTIONS,
        "--model=timm:test_resnet",
    )
    told = "--compile: for training on objects, whose images differ in size, only with a NomMer; "
    told += "leave it out"
    assert message == told
    assert not (tmp_path / "peer").exists(), "it was refused before anything was deleted"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_goes_through_every_verb(run, tmp_path, name):
    data, out = FORMATS[name](tmp_path / "data"), tmp_path / "run"
    run("train --data", data, "--out", out, *OPTIONS, "--epochs=1")
    printed = run("train --data", data, "--out", out, *OPTIONS, "--epochs=2 --resume")
    assert "going on from the end of epoch 1 (of 2 epochs)" in printed.err
    assert [row["epoch"] for row in rows(out / "metrics.csv")] == ["1", "2"]
    found, has_masks = numbers(out), name not in ("YOLO", "VOC")
    assert (found["images"], found["objects"]) == (4, 6)
    assert ("mask_ap" in found) == has_masks
    run("evaluate", out, "--out", tmp_path / "evaluated", "--workers 0")
    assert numbers(tmp_path / "evaluated") == found
    image = next(
        path
        for path in data.rglob("*10.*")
        if path.suffix in (".jpg", ".png") and path.parent.name != "labels"
    )
    run("predict", out, image, "--out", tmp_path / "predicted", "--threshold 0.01")
    (answer,) = json.loads((tmp_path / "predicted" / "result.json").read_text())
    written = json.loads((tmp_path / "predicted" / "coco.json").read_text())["annotations"]
    assert len(answer["objects"]) == len(written) > 0
    (seen,) = nommer.load(out).predict(image, threshold=0.01)
    drawn = [has_masks and area > 0 for area in seen.areas]
    assert ["segmentation" in entry for entry in written] == drawn, "but for masks without pixels"
    assert any(drawn) == has_masks
    run("explain", out, image, "--out", tmp_path / "explained")
    (explained,) = json.loads((tmp_path / "explained" / "result.json").read_text())
    assert set(explained["shares"]) == {"stage 1 block 1", "stage 2 block 1"}
    if name == "COCO with masks":
        boxes = write_yolo(tmp_path / "boxes")
        run("evaluate", out, "--data", boxes, "--out", tmp_path / "by_boxes", "--workers 0")
        by_boxes = numbers(tmp_path / "by_boxes")
        assert "mask_ap" not in by_boxes, "no object of these data has a mask"
        assert by_boxes["box_ap"] >= 0


def test_an_archive_goes_through_every_verb(run, coco, detected, tmp_path):
    """It gives the numbers of the folder that was packed."""
    packed = shutil.make_archive(str(tmp_path / "coco"), "zip", coco)
    run("check", packed, code=1)  # captions lie beside, as in the folder
    run("train --data", packed, "--out", tmp_path / "run", *OPTIONS)
    run("evaluate", detected, "--data", packed, "--out", tmp_path / "evaluated", "--workers 0")
    assert numbers(tmp_path / "evaluated") == numbers(tmp_path / "run") == numbers(detected)
    listed = [row["file"] for row in rows(tmp_path / "run" / "split.csv")]
    assert set(listed) == {row["file"] for row in rows(detected / "split.csv")}


@pytest.mark.parametrize(
    "options",
    ["--detection.head cascade", "--model timm:test_resnet", "--detection.augment.hflip 0"],
)
def test_options_are_obeyed(run, coco, tmp_path, options):
    run("train --data", coco, "--out", tmp_path / "run", *OPTIONS, "--epochs=1", options)
    run("evaluate", tmp_path / "run", "--out", tmp_path / "out", "--workers 0")
    assert numbers(tmp_path / "out") == numbers(tmp_path / "run")


def test_the_same_command_gives_the_same_weights(run, coco, detected, tmp_path):
    run("train --data", coco, "--out", tmp_path / "again", *OPTIONS)
    found, expected = (
        nommer.load(tmp_path / "again").state_dict(),
        nommer.load(detected).state_dict(),
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_predict_writes_boxes_in_every_way(run, detected, coco, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    image = coco / "val2017" / "000000000010.jpg"
    options = "--threshold 0.01 --most 5"
    run(
        "predict",
        detected,
        image,
        tmp_path / "broken.jpg",
        "--out",
        tmp_path / "out",
        options,
        code=1,
    )
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
    assert "--image-size: for detection give" in refused(
        "train --data", coco, *options, "--image-size 64"
    )
    assert "--augment.hflip: does nothing for detection" in refused(
        "train --data", coco, *options, "--augment.hflip 0"
    )
    assert "no object has a mask" in refused(
        "train --data", coco, *options, "--detection.masks true"
    )
    assert "--top: does nothing for detection" in refused(
        "predict", detected, coco / "val2017", "--top 3"
    )
    assert "--inference.flip: does nothing for detection" in refused(
        "evaluate", detected, "--inference.flip true"
    )
    assert "--threshold: does nothing for segmentation" in refused(
        "predict", segmented, coco / "val2017", "--threshold 0.5"
    )
    assert "--threshold must be from 0 to 1, got 2" in refused(
        "predict", detected, coco / "val2017", "--threshold 2"
    )
    assert not (tmp_path / "run").exists()


def test_every_mistake_in_coco_is_listed_and_the_rest_trains(run, tmp_path):
    data, out = write_coco(tmp_path / "data", masks=True), tmp_path / "run"
    path = data / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    like = content["annotations"][0] | {
        "segmentation": polygon(20, 20, 16, 16),
        "bbox": [20, 20, 16, 16],
    }
    mistakes = [
        {"bbox": [5, 5, 0, 10]},
        {"bbox": [30, 30, -10, -10]},
        {"bbox": [5, 5, float("nan"), 10]},
        {"bbox": [50, 30, 30, 30], "segmentation": polygon(50, 30, 14, 18)},
        {"bbox": [100, 100, 10, 10]},
        {"segmentation": [[1, 1, 20, 20]]},
        {"segmentation": [[1, 1, 20, 1, 20, 20, 5]]},
        {"segmentation": [[5, 5, 5, 5, 5, 5]]},
        {"image_id": 999_999},
        {"category_id": 90},
        {"id": 7},
    ]
    for number, mistake in enumerate(mistakes):
        content["annotations"].append(like | {"id": 500 + number} | mistake)
    content["annotations"].append(like | {"id": 600, "segmentation": []})
    path.write_text(json.dumps(content))
    before = path.read_bytes()
    printed = run("train --data", data, "--out", out, *OPTIONS, "--epochs=1")
    assert "issues in the data" in printed.err
    issues = [json.loads(line) for line in (out / "data_issues.jsonl").read_text().splitlines()]
    assert path.read_bytes() == before
    for number, mistake in enumerate(mistakes):
        named = [
            issue
            for issue in issues
            if str((like | {"id": 500 + number} | mistake)["id"]) in issue["what"]
        ]
        assert named, f"{mistake} is not in {issues}"
    assert any(issue["what"].startswith("1 of 6 objects have no mask") for issue in issues), (
        "the last; those before whose masks cannot be are left out"
    )


def test_every_mistake_in_yolo_is_listed_and_the_rest_trains(run, tmp_path):
    data, out = write_yolo(tmp_path / "data"), tmp_path / "run"
    mistakes = [
        "0 0.5 0.5 0 0.2",
        "0 0.5 0.5 -0.1 0.2",
        "0 nan 0.5 0.2 0.2",
        "0 0.95 0.5 0.4 0.2",
        "7 0.5 0.5 0.2 0.2",
    ]
    mistakes += ["0 0.5 0.5", "0 0.1 0.1 0.2 0.2 0.3", "zero 0.5 0.5 0.2 0.2", "0 2.5 2.5 0.1 0.1"]
    (data / "labels" / "train" / "0.txt").write_text(
        "\n".join([*mistakes, "0 0.5 0.5 0.4 0.4", "1 0.5 0.8 0.2 0.4004"])
    )
    (data / "labels" / "train" / "none.txt").write_text("0 0.5 0.5 0.4 0.4")
    run("train --data", data, "--out", out, *OPTIONS, "--epochs=1")
    issues = [json.loads(line) for line in (out / "data_issues.jsonl").read_text().splitlines()]
    lines = [issue for issue in issues if issue["file"].endswith("0.txt")]
    assert {f"line {number}" for number in range(1, 10)} == {
        issue["what"].split(":")[0] for issue in lines
    }
    assert any(issue["file"].endswith("none.txt") for issue in issues), "labels without an image"


@pytest.mark.slow
def test_training_aids_and_replay_are_for_detectors_too(run, coco, detected, tmp_path):
    out = tmp_path / "run"
    given = (
        "--pretrained",
        detected,
        "--ema 0.5 --freeze backbone --batch-size auto --time-limit 1h",
    )
    printed = run("train --data", coco, "--out", out, *OPTIONS, *given, "--epochs 1")
    assert "batch size " in printed.err
    before, after = (
        nommer.load(detected).network.state_dict(),
        nommer.load(out).network.state_dict(),
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any(name.startswith("backbone.") for name in changed)
    burst = tmp_path / "burst"
    run(
        "train --data",
        coco,
        "--out",
        burst,
        *OPTIONS,
        "--lr 1e30 --optim.clip-grad 0 --epochs 3",
        code=2,
    )
    printed = run("replay", burst, "--device cpu")
    assert "first value that is no finite number: forward network." in printed.out
