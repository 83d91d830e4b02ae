"""`nommer pretrain`: any images, a teacher's features, a probe; a model to start from."""

import json
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open

import nommer
from nommer.errors import InputError
from nommer.models.features import FeatureExtractor
from nommer.models.storage import load_backbone, save_model
from nommer.models.upernet import UPerNet
from nommer.serving.loaded import LoadedModel
from tests.run_contents import checkpoint, rows
from tests.sketches import drawn

pytestmark = pytest.mark.usefixtures("sketched")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, coloured, train_options, of_timm):
    """A run of two epochs with a probe, to be read only."""
    from nommer.cli import main  # noqa: PLC0415 - Lightning takes seconds

    out = tmp_path_factory.mktemp("pretrained") / "run"
    probe = ["--probe", str(coloured), "--linear-probe", "--neighbours=5", "--licence=CC0"]
    probe += ["--precision=bf16"]
    given = ["--data", str(coloured), "--out", str(out), *train_options, *of_timm, *probe]
    with drawn():
        assert main(["pretrain", *given]) == 0
    return out


def test_a_run_tells_each_epoch_what_has_been_learned(pretrained, check_best_epoch):
    first, last = rows(pretrained / "metrics.csv")
    assert float(last["val_similarity"]) > float(first["val_similarity"])
    assert {"val_knn", "val_linear", "val_map_similarity", "val_pooled_similarity"} <= last.keys()
    result = json.loads((pretrained / "result.json").read_text())
    check_best_epoch(pretrained, "knn", "linear", "similarity", "loss")
    likeness = rows(pretrained / "similarity.csv")
    assert np.mean([float(row["loss"]) for row in likeness]) == pytest.approx(result["loss"])
    for picture in ("curves.png", "neighbours.jpg", "train_batch.jpg", "nominations.png"):
        with Image.open(pretrained / picture) as image:
            assert image.width > 300


def test_the_model_has_no_teacher_no_projections_and_a_card(pretrained):
    model = nommer.load(pretrained)
    assert type(model) is FeatureExtractor
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, model.network.num_features)
    with safe_open(pretrained / "model" / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(model.network.state_dict())
    state = checkpoint(pretrained, "last")["state_dict"]
    assert "distillation.pooled_projection.weight" in state
    assert not any("teacher" in name for name in state)
    card = (pretrained / "model" / "card.md").read_text()
    for told in ("timm:resnet10t", "18 to learn from, 9 held back", "Licence of the images", "CC0"):
        assert told in card


@pytest.mark.parametrize("kind", ["classes", "pixels"])
def test_every_task_starts_from_it(
    run, pretrained, coloured, scenes, train_options, segment_options, tmp_path, kind
):
    data, options = (coloured, train_options) if kind == "classes" else (scenes, segment_options)
    given = ["--data", data, "--out", tmp_path / "run", *options, "--epochs=1", "--lr=1e-12"]
    told = run("train", *given, "--pretrained", pretrained)
    assert f"taken from {pretrained}: stem (6), stages.0 (43)" in told.err
    into, start = nommer.load(tmp_path / "run").backbone, nommer.load(pretrained).network
    there = dict(start.named_parameters())
    for name, weights in into.named_parameters():
        if name in there:
            torch.testing.assert_close(weights, there[name])


def test_objects_start_from_it(pretrained):
    network = UPerNet(nommer.load(pretrained).network, num_classes=2, decoder_channels=8)
    loaded, left = load_backbone(network, pretrained)
    assert loaded
    assert all(name.startswith("norm.") for name in left)


def test_images_come_from_folders_archives_and_shards_and_the_rest_is_listed(
    run, coloured, of_timm, train_options, tmp_path
):
    files = sorted(coloured.rglob("*.png"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in files[:5]:
            archive.write(path, path.name)
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "0.tar", "w") as shard:
        for number, path in enumerate(files[5:9]):
            shard.add(path, f"{number}.png")
    mixed = tmp_path / "mixed"
    for folder in ("images", "masks", "test", "test tube", "val"):
        (mixed / folder).mkdir(parents=True)
        shutil.copy(files[9], mixed / folder / "1.png")
    (mixed / "images" / "cut.png").write_bytes(files[0].read_bytes()[:99])
    (mixed / "images" / "photo.heic").write_bytes(b"not read")
    more = ["--more-data", f"{tmp_path / 'a.zip'},{tmp_path / 'shards'}", "--on-bad-sample=skip"]
    given = ["--data", mixed, *more, "--out", tmp_path / "run", *train_options, *of_timm]
    told = run("pretrain", *given, "--epochs=1").err
    assert "no labels, 11 train, 1 val images" in told
    lines = (tmp_path / "run" / "data_issues.jsonl").read_text().splitlines()
    issues = [json.loads(line) for line in lines]
    left_out = {
        issue["file"].removeprefix(f"{mixed}/")
        for issue in issues
        if issue["done"].startswith("left out")
    }
    assert left_out == {"masks/1.png", "test/1.png", "images/cut.png", "images/photo.heic"}
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert settings["more_data"] == [str(tmp_path / "a.zip"), str(tmp_path / "shards")]
    assert not settings.keys() & {"freeze", "labels", "detection", "classes", "compile"}


def test_splits_that_lists_tell_are_left_out_and_held_back(
    run, coloured, of_timm, train_options, tmp_path
):
    data = tmp_path / "voc"
    (data / "JPEGImages").mkdir(parents=True)
    (data / "ImageSets" / "Main").mkdir(parents=True)
    for number, path in enumerate(sorted(coloured.rglob("*.png"))[:8]):
        shutil.copy(path, data / "JPEGImages" / f"{number}.png")
    for split, names in {"train": "0\n1\n", "val": "2\n3\n", "test": "4\n5\n6\n"}.items():
        (data / "ImageSets" / "Main" / f"{split}.txt").write_text(names)
    given = ["--data", coloured / "train", "--more-data", data, "--out", tmp_path / "run"]
    told = run("pretrain", *given, *train_options, *of_timm, "--epochs=1").err
    count = len(list((coloured / "train").rglob("*.png")))
    assert f"no labels, {count + 3} train, 2 val images" in told  # 7.png is in no list
    assert "not learned from, images to evaluate a model on: 3" in told
    assert f"held back, for {data}/ImageSets/Main/val.txt names them: 2 images" in told
    lines = (tmp_path / "run" / "data_issues.jsonl").read_text().splitlines()
    what = "is named in ImageSets/Main/test.txt, images to evaluate a model on"
    found = [issue["file"] for issue in map(json.loads, lines) if issue["what"] == what]
    assert found == [f"{data}/JPEGImages/{number}.png" for number in (4, 5, 6)]


def test_a_finished_run_goes_on_by_its_own_verb_and_settings(
    run, refused, pretrained, coloured, train_options, tmp_path
):
    copy = tmp_path / "run"
    shutil.copytree(pretrained, copy)
    going_on = ["--config", copy / "config.yaml", "--out", copy, "--resume", "--epochs=3"]
    assert "is a run of nommer pretrain" in refused(
        "train --resume --data", coloured, "--out", copy, *train_options
    )
    assert "going on from the end of epoch 2" in run("pretrain", *going_on, "--licence=MIT").err
    assert [row["epoch"] for row in rows(copy / "metrics.csv")] == ["1", "2", "3"]
    message = refused("pretrain", *going_on, "--neighbours=6")
    assert "neighbours: the run has 5, now 6" in message


def test_a_teacher_that_has_changed_is_refused(
    run, refused, coloured, trained, train_options, tmp_path
):
    teacher, out = tmp_path / "teacher", tmp_path / "run"
    shutil.copytree(trained / "model", teacher)
    given = ["--data", coloured, "--out", out, *train_options, "--teacher", teacher]
    run("pretrain", *given, "--epochs=1")
    other = nommer.load(trained)
    torch.nn.init.ones_(other.network.head.bias)
    save_model(teacher, other, metrics={}, version="0")
    message = refused("pretrain", *given, "--epochs=2", "--resume")
    assert "--teacher: its weights are others than when the run was started" in message


def test_it_is_not_served(pretrained):
    with pytest.raises(InputError, match="has no classes and answers nothing"):
        LoadedModel("start", str(pretrained), device="cpu", threads=None)


@pytest.mark.parametrize("verb", ["evaluate", "predict", "export", "explain"])
def test_it_answers_nothing_and_says_what_it_is_for(refused, pretrained, coloured, tmp_path, verb):
    image = coloured / "val" / "red" / "red-0.png"
    given = {"evaluate": ["--data", coloured], "export": ["--data", coloured]}.get(verb, [image])
    said = refused(verb, pretrained, *given, "--out", tmp_path / "out")
    assert "has no classes and answers nothing; train one from it" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--linear-probe", "--linear-probe: does nothing without --probe"),
        ("--neighbours=0", "--neighbours must be 1 or more, got 0"),
        ("--probe={scenes}", "holds data for segmentation; expected images of one class each"),
        ("--data={empty}", "no images that could be learned from"),
        ("--data={file}", "is a file; expected a folder of images, an archive"),
        ("--optim.label-smoothing=0.1", "there are no labels"),
        ("--distillation.pooled-weight=-1", "pooled_weight must be 0 or more"),
        ("--distillation.feature-weight=0 --distillation.pooled-weight=0", "are both 0"),
        ("--distillation.weights=nowhere.pth", "nowhere.pth: cannot be read"),
    ],
)
def test_what_cannot_be_is_refused(
    refused, coloured, scenes, of_timm, train_options, tmp_path, options, message
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    file = tmp_path / "empty" / "notes.txt"
    places = {"scenes": scenes, "empty": tmp_path / "empty", "file": file}
    given = ["--data", coloured, "--out", tmp_path / "run", *train_options, *of_timm]
    assert message in refused("pretrain", *given, options.format(**places))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_goes_on_exactly(check_goes_on, coloured, of_timm, train_options):
    random = ["--network.drop-path-rate=0.3", "--augment.mixup=0.5", "--augment.cutmix=0.5"]
    options = ["--data", coloured, *train_options, *of_timm, *random, "--ema=0.9"]
    options += ["--precision=bf16", "--probe", coloured, "--checkpoint-minutes=0"]
    check_goes_on("pretrain", *options)


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_evaluate_as_one_does(
    shell, check_best_epoch, coloured, of_timm, train_options, tmp_path
):
    out = tmp_path / "run"
    options = ["--data", coloured, "--out", out, *train_options, *of_timm, "--probe", coloured]
    found = shell("pretrain", *options, "--devices=2", "--batch-size=3")
    assert found.returncode == 0, found.stderr
    check_best_epoch(out, "knn", "similarity", "loss")
