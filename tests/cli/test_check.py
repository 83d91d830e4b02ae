"""`nommer check`: what it finds in data of every task, what it writes, its exit code.

It never changes a file.
"""

import csv
import html
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import nommer.api

FILES = {"environment.json", "report.html", "data_issues.jsonl", "images.csv", "result.json"}


def issues(out):
    return [json.loads(line) for line in (out / "data_issues.jsonl").read_text().splitlines()]


def found(out, severity=None):
    """File name, what and done of what was found."""
    return {
        (Path(issue["file"]).name, issue["what"], issue["done"])
        for issue in issues(out)
        if severity in (None, issue["severity"])
    }


def result(out):
    return json.loads((out / "result.json").read_text())


def rows(out):
    with (out / "images.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def state(root):
    """Everything about the files below a folder that a program may change, but for when they were
    read.
    """
    return {
        path.relative_to(root).as_posix(): (
            facts.st_mtime_ns,
            facts.st_size,
            facts.st_mode,
            facts.st_ino,
        )
        for path in [root, *root.rglob("*")]
        for facts in [path.lstat()]
    }


@pytest.fixture
def photos(tmp_path, coloured):
    return shutil.copytree(coloured, tmp_path / "photos")


def test_data_in_order(run, coloured, tmp_path):
    printed = run("check", coloured, "--out", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert issues(tmp_path / "out") == []
    facts = result(tmp_path / "out")
    assert (
        facts["task"],
        facts["code"],
        facts["images"],
        facts["train images"],
        facts["classes"],
    ) == (
        "classification",
        0,
        27,
        18,
        3,
    )
    assert "data for classification" in printed.out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Nothing is amiss." in page
    assert page.count("data:image/") >= 2, "classes and samples"
    assert "nommer train --data" in page


def test_every_problem_of_classification(run, photos, noisy, tmp_path):
    shutil.copy(photos / "train/blue/blue-0.png", photos / "val/blue/leak.png")
    shutil.copy(photos / "train/blue/blue-1.png", photos / "train/red/wrong.png")
    shutil.copy(photos / "train/green/green-1.png", photos / "train/green/twin.png")
    (photos / "train/blue/cut.png").write_bytes(
        (photos / "train/blue/blue-3.png").read_bytes()[:500]
    )
    (photos / "train/blue/notes.txt").write_text("x")
    noisy((40, 190, 50), size=(20, 90)).save(photos / "train/green/small.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    noisy((40, 190, 50), size=(60, 40)).save(photos / "val/green/turned.jpg", exif=exif)
    noisy((40, 190, 50)).convert("L").save(photos / "val/green/grey.png")
    out = tmp_path / "out"
    printed = run("check", photos, "--out", out, code=2)
    assert found(out, "problem") == {
        ("cut.png", "cannot be decoded: image file is truncated", "left out"),
        (
            "leak.png",
            "the same image as train/blue/blue-0.png, with the same label; one is in train, one in "
            "val",
            "kept",
        ),
        (
            "wrong.png",
            "the same image as train/blue/blue-1.png, which is 'blue', while this is 'red'",
            "kept",
        ),
    }
    assert found(out, "note") == {
        ("notes.txt", "file name does not end as an image's", "left out"),
        ("twin.png", "the same image as train/green/green-1.png, with the same label", "kept"),
        ("small.png", "20 x 90 pixels: a side is under 32", "enlarged"),
    }
    (refusal,) = found(out, "fatal")
    assert (
        "1 of 34 images cannot be read (at most 1% is left out without being asked to)"
        in refusal[1]
    )
    assert "1 of 34 images cannot be read" in printed.out
    facts = result(out)
    assert (
        facts["unreadable images"],
        facts["turned by EXIF"],
        facts["problems"],
        facts["notes"],
    ) == (1, 1, 4, 3)
    files = {row["file"]: row for row in rows(out)}
    assert len(files) == 34
    grey, turned, cut = (
        files[f] for f in ("val/green/grey.png", "val/green/turned.jpg", "train/blue/cut.png")
    )
    assert (grey["mode"], grey["format"], grey["class"], grey["split"]) == (
        "L",
        "PNG",
        "green",
        "val",
    )
    assert (turned["width"], turned["height"], turned["orientation"]) == ("60", "40", "6")
    assert cut["error"] == "cannot be decoded: image file is truncated"
    assert files["train/red/wrong.png"]["sha256"] == files["train/blue/blue-1.png"]["sha256"]
    page = (out / "report.html").read_text()
    assert "Training would refuse these data." in page
    assert "which is &#39;blue&#39;, while this is &#39;red&#39;" in page
    assert "wrong.png" in page


def test_the_command_to_go_on_with_can_be_copied(run, photos, tmp_path, monkeypatch):
    home = tmp_path / "my photos"
    shutil.copytree(photos, home)
    monkeypatch.chdir(home)
    run("check .", "--out", tmp_path / "out")
    page = html.unescape((tmp_path / "out" / "report.html").read_text())
    assert "nommer train --data . --out 'runs/my photos'" in page


def test_problems_that_training_lives_with_are_code_1(run, photos, tmp_path):
    shutil.copy(photos / "train/blue/blue-0.png", photos / "val/blue/leak.png")
    run("check", photos, "--out", tmp_path / "out", code=1)
    (photos / "val/blue/leak.png").unlink()
    shutil.copy(photos / "train/blue/blue-0.png", photos / "train/blue/twin.png")
    run("check", photos, "--out", tmp_path / "out", "--overwrite")
    run("check", photos / "train", "--out", tmp_path / "out", "--overwrite", code=1)
    ((_, what, _),) = found(tmp_path / "out", "problem")
    assert what.endswith("without a val split one may be learned from and the other evaluated on")


def test_classes_of_which_nothing_can_be_read_are_reported_as_empty(run, photos, tmp_path):
    for path in (photos / "val/blue").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    out = tmp_path / "out"
    run("check", photos, "--out", out, code=2)
    assert ("photos", "1 of 3 classes have no validation images: blue", "kept") in found(
        out, "note"
    )


def test_a_sample_whose_class_makes_no_sense_is_listed(run, photos, tmp_path):
    samples = tmp_path / "samples"
    samples.mkdir()
    for number, image in enumerate(sorted((photos / "train").rglob("*.png"))):
        shutil.copy(image, samples / f"{number}.png")
        (samples / f"{number}.cls").write_bytes(image.parent.name.encode() if number else b"\xff")
    shard = shutil.make_archive(str(tmp_path / "train"), "tar", samples)
    out = tmp_path / "out"
    run("check", shard, "--out", out, code=2)
    assert found(out, "problem") == {("0.png", "its class in 0.cls is not UTF-8", "left out")}
    assert [row["class"] for row in rows(out) if row["file"] == "0.png"] == [""]


def test_problems_of_masks(run, scenes, tmp_path):
    data = shutil.copytree(scenes, tmp_path / "scenes")
    Image.new("L", (10, 10)).save(data / "masks/train/0.png")
    shutil.copy(data / "images/train/1.png", data / "images/val/9.png")
    shutil.copy(data / "masks/train/1.png", data / "masks/val/9.png")
    shutil.copy(data / "images/train/2.png", data / "images/train/8.png")
    shutil.copy(data / "masks/train/3.png", data / "masks/train/8.png")
    (data / "masks/train/stray.png").write_bytes((data / "masks/train/3.png").read_bytes())
    out = tmp_path / "out"
    run("check", data, "--out", out, code=2)
    problems = found(out, "problem")
    assert (
        "9.png",
        "the same image as images/train/1.png, with the same label; one is in train, one in val",
        "kept",
    ) in problems
    assert ("8.png", "the same image as images/train/2.png", "kept") in {
        (f, w.split(", ")[0], d) for f, w, d in problems
    }
    assert ("stray.png", "mask without an image", "left out") in problems
    assert any(name == "0.png" and "its mask " in what for name, what, _ in problems)
    assert result(out)["task"] == "segmentation"
    assert result(out)["ignored pixels"].endswith("%")
    assert {row["mask"] for row in rows(out)} >= {"masks/train/0.png", "masks/val/9.png"}


def test_problems_of_objects(run, herd_coco, tmp_path):
    file = herd_coco / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"][0] |= {"bbox": [-5, 2, 12, 8], "segmentation": []}
    content["annotations"][1] |= {"bbox": [5, 5, 0, 0], "segmentation": []}
    file.write_text(json.dumps(content))
    first = sorted((herd_coco / "train2017").iterdir())
    shutil.copy(first[0], first[1])
    out = tmp_path / "out"
    run("check", herd_coco, "--out", out, code=1)
    problems = found(out, "problem")
    assert any(
        "reaches outside the image" in what and done == "clipped" for _, what, done in problems
    )
    assert any("no area" in what and done == "dropped" for _, what, done in problems)
    assert any(
        name == first[1].name and what.startswith("the same image as") for name, what, _ in problems
    )
    facts = result(out)
    assert facts["task"] == "detection"
    assert facts["objects"] > 0
    assert "images without objects" in facts


@pytest.fixture
def herd_coco(tmp_path):
    """Four training and two validation images of one or two boxes each, as COCO has them."""
    root = tmp_path / "herd"
    for split, count in (("train", 4), ("val", 2)):
        (root / f"{split}2017").mkdir(parents=True)
        content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "cow"}, {"id": 2, "name": "dog"}],
        }
        for number in range(count):
            image = Image.new("RGB", (60, 40), (90, 90, 90 + number + 10 * len(split)))
            image.paste((200, 40, 30), (5 + number, 5, 20 + number, 25))
            image.paste((30, 40, 200), (30, 10, 50, 30 - number))
            image.save(root / f"{split}2017" / f"{number}.png")
            content["images"].append(
                {"id": number, "file_name": f"{number}.png", "width": 60, "height": 40}
            )
            for category, box in ((1, [5 + number, 5, 15, 20]), (2, [30, 10, 20, 20 - number])):
                entry = {
                    "id": len(content["annotations"]),
                    "image_id": number,
                    "category_id": category,
                    "bbox": box,
                }
                content["annotations"].append(entry | {"iscrowd": 0, "area": box[2] * box[3]})
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("task", ["classification", "segmentation", "detection"])
def test_files_are_never_changed(run, task, photos, scenes, herd_coco, tmp_path, digest):
    """The data can be read only, and are left as they are to the last nanosecond."""
    data = {"classification": photos, "segmentation": scenes, "detection": herd_coco}[task]
    data = shutil.copytree(data, tmp_path / "locked")
    places = [data, *data.rglob("*")]
    for path in places:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = state(data), digest(data)
    try:
        run("check", data, "--out", tmp_path / "out")
        assert (state(data), digest(data)) == before
    finally:
        for path in places:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert result(tmp_path / "out")["task"] == task


@pytest.mark.parametrize("kind", ["zip", "table"])
def test_other_formats(run, coloured, tmp_path, kind):
    if kind == "zip":
        data = shutil.make_archive(str(tmp_path / "photos"), "zip", coloured)
    else:
        data = tmp_path / "labels.csv"
        lines = [
            f"{path},{path.parent.name},{path.parent.parent.name}"
            for path in sorted(coloured.rglob("*.png"))
        ]
        data.write_text("\n".join(["path,label,split", *lines]))
    run("check", data, "--out", tmp_path / "out")
    assert result(tmp_path / "out")["images"] == 27
    assert all(len(row["sha256"]) == 64 for row in rows(tmp_path / "out"))


def test_the_folder_follows_the_rules_of_other_verbs(run, refused, coloured, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("check", "check-2"):
        assert f"in runs/{name}" in run("check", coloured).out
        assert {path.name for path in (tmp_path / "runs" / name).iterdir()} == FILES
    assert "exists and is not empty" in refused("check", coloured, "--out runs/check")
    run("check", coloured, "--out runs/check --overwrite")
    data = shutil.copytree(coloured, tmp_path / "photos")
    assert "lies in the data, which are never written to" in refused(
        "check", data, "--out photos/check"
    )
    assert "lies in " in refused("check", data, "--out", tmp_path, "--overwrite")
    assert not (data / "check").exists()
    monkeypatch.chdir(data)
    assert "--out runs/check: lies in the data" in refused("check", ".")
    assert not (data / "runs").exists()


def test_names_that_are_not_utf_8(run, photos, tmp_path):
    image = next(photos.rglob("*.png"))
    shutil.copy(image, image.with_name("f\udcfc.png"))  # drawn as a problem: it is in both splits
    shutil.copy(
        image,
        photos / ("val" if image.is_relative_to(photos / "train") else "train") / image.parent.name,
    )
    image.unlink()
    run("check", photos, "--out", tmp_path / "out", code=1)
    lines = (tmp_path / "out" / "images.csv").read_text(errors="surrogateescape").splitlines()
    assert sum("f\udcfc.png" in line for line in lines) == 1
    for folder in photos.glob(f"*/{image.parent.name}"):
        folder.rename(folder.with_name("k\udce4t"))
    run("check", photos, "--out", tmp_path / "out", "--overwrite", code=2)
    assert r"the name of class 'k\udce4t' is not UTF-8; rename it" in {
        what.partition(": ")[2] for _, what, _ in found(tmp_path / "out", "fatal")
    }


def test_mistakes_in_the_call_leave_no_report(refused, photos, scenes, tmp_path):
    assert "no such folder; accepted layouts" in refused(
        "check", tmp_path / "nowhere", "--out", tmp_path / "out"
    )
    file = tmp_path / "nowhere.yaml"
    for data in (photos, scenes):
        assert f"{file}: " in refused("check", data, "--classes", file, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_that_cannot_be_read_are_reported(run, photos, tmp_path):
    """Images alone are told of too; nothing is read of data that may be of any kind."""
    (photos / "train" / "yellow").mkdir()
    (photos / "train/blue/cut.png").write_bytes(
        (photos / "train/blue/blue-3.png").read_bytes()[:500]
    )
    out = tmp_path / "out"
    printed = run("check", photos, "--out", out, code=2)
    assert {path.name for path in out.iterdir()} == FILES
    why = "this class folder holds no images; add some or remove the folder"
    ((name, what, done),) = found(out, "fatal")
    assert (name, done) == ("photos", "cannot be used")
    assert what.endswith(why)
    assert why in " ".join(printed.out.split())
    assert found(out, "problem") == {
        ("cut.png", "cannot be decoded: image file is truncated", "left out")
    }
    facts = result(out)
    assert (facts["task"], facts["code"], facts["images found"], facts["unreadable images"]) == (
        "classification",
        2,
        28,
        1,
    )
    assert len(rows(out)) == 28
    page = (out / "report.html").read_text()
    assert "Training would refuse these data." in page
    assert why in page
    assert "train/blue/cut.png" in page


@pytest.mark.parametrize("kind", ["archive", "table", "folder"])
def test_data_that_fit_nothing_are_reported(run, photos, tmp_path, kind):
    if kind == "archive":
        data = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", photos))
        data.write_bytes(data.read_bytes()[:-100])
        expected = "cannot be read as an archive: File is not a zip file; pack it again"
    elif kind == "table":
        data = tmp_path / "labels.csv"
        image = next(photos.rglob("*.png"))
        data.write_text(f"path,label\n{image},a\n{image},b\n")
        expected = "is of class 'b', but of 'a'"
    else:
        data = tmp_path / "empty"
        data.mkdir()
        expected = "found no folders of images; accepted layouts"
    run("check", data, "--out", tmp_path / "out", code=2)
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    ((_, what, _),) = found(tmp_path / "out")
    assert expected in what
    assert expected.replace("'", "&#39;") in (tmp_path / "out" / "report.html").read_text()


def test_data_that_cannot_be_split_are_refused_as_training_would(run, tmp_path, write_classes):
    write_classes(tmp_path / "photos", {"blue": 1, "red": 1})
    out = tmp_path / "out"
    run("check", tmp_path / "photos", "--out", out, code=2)
    (refusal,) = found(out, "fatal")
    assert "no class has two images" in refusal[1]


def test_from_python(coloured, tmp_path):
    checked = nommer.api.check(coloured, out=tmp_path / "out")
    assert (checked.task, checked.code, checked.findings) == ("classification", 0, ())
    assert (tmp_path / "out" / "report.html").is_file()
