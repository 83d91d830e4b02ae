"""`nommer train`, as a user runs it: what it leaves behind, and that it can be repeated exactly."""

import json
import math
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import timm
import torch
import yaml
from PIL import Image

import nommer
from nommer.backbone.contexts import CONTEXTS
from tests.run_contents import rows, same
from tests.sketches import drawn

pytestmark = pytest.mark.usefixtures("sketched")

RUN_FOLDER = {
    ".lock",
    "calibration.png",
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
    "classes.json",
    "config.yaml",
    "confusion_matrix.png",
    "curves.png",
    "data_issues.jsonl",
    "environment.json",
    "metrics.csv",
    "model/model.json",
    "model/model.safetensors",
    "nominations.csv",
    "nominations.png",
    "per_class.csv",
    "predictions.csv",
    "result.json",
    "risk_coverage.png",
    "split.csv",
    "train_batch.jpg",
    "val_predictions.jpg",
}


def weights(run):
    return nommer.load(run).state_dict()


def test_the_run_folder_holds_what_is_promised(trained):
    found = {path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file()}
    assert {name for name in found if not name.startswith("tensorboard/")} == RUN_FOLDER
    assert any(name.startswith("tensorboard/events.out.tfevents") for name in found)
    for name in RUN_FOLDER:
        if name.endswith((".png", ".jpg")):
            with Image.open(trained / name) as picture:
                assert min(picture.size) > 150, name


def test_the_tables_of_a_run_agree(trained):
    metrics, result = (
        rows(trained / "metrics.csv"),
        json.loads((trained / "result.json").read_text()),
    )
    assert [row["epoch"] for row in metrics] == ["1", "2"]
    assert [row["step"] for row in metrics] == ["3", "6"]
    best = max(metrics, key=lambda row: (float(row["val_top1"]), -float(row["val_loss"])))
    assert result["epoch"] == int(best["epoch"])
    for name in ("loss", "top1", "mean_class_accuracy", "macro_f1", "calibration_error"):
        assert result[name] == pytest.approx(float(best[f"val_{name}"]), abs=1e-6), name
    described = json.loads((trained / "model" / "model.json").read_text())
    assert described["class_names"] == result["classes"] == ["blue", "green", "red"]
    assert described["metrics"]["top1"] == result["top1"]
    predictions = rows(trained / "predictions.csv")
    assert len(predictions) == result["images"] == 9
    assert sum(row["correct"] == "True" for row in predictions) / 9 == pytest.approx(result["top1"])
    assert [row["class"] for row in rows(trained / "per_class.csv")] == result["classes"]
    assert sum(map(sum, result["confusion"])) == 9


def test_nominations_are_recorded_per_epoch_and_block(trained):
    found = rows(trained / "nominations.csv")
    assert [(row["epoch"], row["block"]) for row in found] == [
        (epoch, block) for epoch in "12" for block in ("stage 1 block 1", "stage 2 block 1")
    ]
    for row in found:
        assert sum(float(row[name]) for name in CONTEXTS) == pytest.approx(1)


def test_the_split_lists_every_file(trained, coloured):
    listed = {(row["file"], row["split"], row["class"]) for row in rows(trained / "split.csv")}
    files = {path.relative_to(coloured) for path in coloured.rglob("*.png")}
    assert listed == {(file.as_posix(), file.parts[0], file.parts[1]) for file in files}


def test_the_environment_and_the_issues_are_recorded(trained):
    environment = json.loads((trained / "environment.json").read_text())
    assert environment["packages"]["torch"] == version("torch")
    assert environment["python"].startswith("3.")
    assert (trained / "data_issues.jsonl").read_text() == ""


def test_what_is_shown_is_what_is_written_in_plain_lines(
    run, coloured, train_options, tmp_path, digest
):
    before = digest(coloured)
    printed = run("train --data", coloured, "--out", tmp_path / "run", *train_options)
    assert digest(coloured) == before, "the user's files stay as they are"
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert f"│ top1                │ {result['top1']:.4f} │" in printed.out
    assert "\x1b" not in printed.err, "no terminal, no control characters"
    lines = printed.err.splitlines()
    assert lines[0].startswith("nommer_micro: 3 classes, 18 train, 9 val images of ")
    assert [line.split("  ")[0] for line in lines[1:3]] == ["epoch 1/2", "epoch 2/2"]
    assert lines[3].startswith(
        f"best epoch {result['epoch']}: top-1 {result['top1']:.2%} on 9 validation images"
    )
    assert len(lines) == 4


def test_the_config_repeats_the_run_bit_for_bit(run, trained, tmp_path):
    run("train --config", trained / "config.yaml", "--out", tmp_path / "again")
    assert same(weights(trained), weights(tmp_path / "again"))
    first, again = (
        yaml.safe_load((folder / "config.yaml").read_text())
        for folder in (trained, tmp_path / "again")
    )
    assert first | {"out": None} == again | {"out": None}
    assert None not in {first[name] for name in ("batch_size", "image_size", "workers")}, (
        "all resolved"
    )
    numbers = [rows(f / "metrics.csv") for f in (trained, tmp_path / "again")]
    assert numbers[0] == numbers[1]


def test_workers_and_a_cache_do_not_change_the_result_and_the_seed_does(run, trained, tmp_path):
    options = "--workers 1 --cache disk --out"
    printed = run("train --config", trained / "config.yaml", options, tmp_path / "helped")
    assert "keeping 27 decoded images in " in printed.err
    assert not list((tmp_path / "helped").glob("cache*"))
    assert same(weights(trained), weights(tmp_path / "helped"))
    run("train --config", trained / "config.yaml", "--seed 1 --epochs 1 --out", tmp_path / "other")
    assert not same(weights(trained), weights(tmp_path / "other"))


def test_every_augmentation_and_option_of_the_optimiser_works_together(
    run, coloured, train_options, tmp_path
):
    run(
        "train --data", coloured, "--out", tmp_path / "run", *train_options,
        "--epochs 1 --accumulate 2 --precision bf16",
        "--augment.mixup 0.8 --augment.cutmix 1 --augment.random_erasing 0.5 --augment.vflip 0.5",
        "--augment.auto-augment rand-m9-mstd0.5-inc1 --augment.scale [0.08,1] --optim.layer-decay "
        "0.7",
        "--optim.name lamb --optim.clip-grad 0 --network.drop-path-rate 0.2 --network.drop_rate "
        "0.1",
        "--network.global-pool avg --network.grad-checkpointing true --pixels.crop-mode squash",
    )  # fmt: skip
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["augment"]["scale"] == [0.08, 1.0]
    assert (config["optim"]["name"], config["optim"]["layer_decay"]) == ("lamb", 0.7)
    model = nommer.load(tmp_path / "run")
    assert (model.network.config.global_pool, model.network.config.drop_path_rate) == ("avg", 0.2)
    assert model.preprocessing.crop_mode == "squash"
    assert math.isfinite(float(rows(tmp_path / "run" / "metrics.csv")[0]["train_loss"]))
    assert rows(tmp_path / "run" / "metrics.csv")[0]["step"] == "2", (
        "three batches are two steps of at most two"
    )


@pytest.fixture
def single(tmp_path, write_classes):
    """Class folders alone, without a split, and with awkward names."""
    return write_classes(tmp_path / "my data ü", {"Käfer": 8, "with space": 12, "x": 5})


def test_class_folders_alone_are_split_by_the_seed(run, single, train_options, tmp_path):
    out = tmp_path / "a run ü"
    with drawn():  # the names are written in the pictures
        run("train --data", single, "--out", out, *train_options, "--epochs 1 --val-fraction 0.25")
    split = rows(out / "split.csv")
    held = {row["file"] for row in split if row["split"] == "val"}
    assert len(split) == 25
    assert [sum(name in file for file in held) for name in ("Käfer/", "with space/", "x/")] == [
        2,
        3,
        1,
    ]
    assert nommer.load(out).class_names == ("Käfer", "with space", "x")
    assert len(json.loads((out / "result.json").read_text())["confusion"]) == 3
    again = tmp_path / "again"
    run("train --data", single, "--out", again, *train_options, "--epochs 1 --val-fraction 0.25")
    assert (again / "split.csv").read_text() == (out / "split.csv").read_text()


def test_bad_images_are_left_out_listed_and_counted(run, single, train_options, tmp_path, digest):
    bad = single / "with space" / "with space-0.png"
    bad.write_bytes(bad.read_bytes()[:300])
    (single / "x" / "notes.txt").write_text("a note")
    for number in range(1, 5):  # one of which is held back
        shutil.copy(single / "x" / "x-0.png", single / "x" / f"x-{number}.png")
    before = digest(single)
    printed = run(
        "train --data",
        single,
        "--out",
        tmp_path / "run",
        *train_options,
        "--epochs 1 --on-bad-sample skip",
    )
    assert "validation images that are training images too, evaluated too well: 1" in printed.err
    assert "3 issues in the data, 2 files left out: see data_issues.jsonl" in printed.err
    issues = [
        json.loads(line)
        for line in (tmp_path / "run" / "data_issues.jsonl").read_text().splitlines()
    ]
    assert {(Path(issue["file"]).parent.name, issue["done"]) for issue in issues} == {
        ("with space", "left out"),
        ("x", "left out"),
        ("x", "kept"),
    }
    assert "truncated" in next(issue["what"] for issue in issues if issue["file"] == str(bad))
    assert len(rows(tmp_path / "run" / "split.csv")) == 24
    assert digest(single) == before


class TestPretrained:
    def test_the_same_classes_take_all_weights(
        self, run, trained, coloured, train_options, tmp_path
    ):
        options = ("--out", tmp_path / "run", *train_options, "--epochs 1 --lr 1e-12")
        printed = run("train --data", coloured, "--pretrained", trained, *options)
        assert f"all weights taken from {trained}" in printed.err
        before, after = weights(trained), weights(tmp_path / "run")
        learned = [name for name in before if "running" not in name and "num_batches" not in name]
        assert max((before[name] - after[name]).abs().max().item() for name in learned) < 1e-6

    def test_other_classes_get_a_new_classifier(
        self, run, trained, single, train_options, tmp_path
    ):
        options = ("--out", tmp_path / "run", *train_options, "--epochs 1 --lr 1e-12")
        train = ("train --data", single, "--pretrained", trained / "model", *options)
        printed = run(*train).err.replace("\n", "")
        assert "stages.0 (" in printed
        assert (
            "; new, for it has 3 other classes (blue, green, red) than the data, which have 3 "
            "(Käfer, with space, x): head.weight (3, 128), there (3, 128); head.bias (3,), there "
            "(3,)" in printed
        )
        before, after = weights(trained), weights(tmp_path / "run")
        assert torch.allclose(
            before["network.stem.conv.weight"], after["network.stem.conv.weight"], atol=1e-6
        )
        assert not torch.allclose(
            before["network.head.weight"], after["network.head.weight"], atol=1e-3
        )

    def test_a_new_classifier_can_be_asked_for(
        self, run, trained, coloured, train_options, tmp_path
    ):
        options = ("--out", tmp_path / "run", *train_options, "--epochs 1 --lr 1e-12")
        train = ("train --data", coloured, "--pretrained", trained, *options)
        printed = run(*train, "--reinit-head").err.replace("\n", "")
        assert "; new, for --reinit-head: head.weight (3, 128), there (3, 128)" in printed
        before, after = weights(trained), weights(tmp_path / "run")
        assert not torch.allclose(
            before["network.head.weight"], after["network.head.weight"], atol=1e-3
        )

    def test_pixels_are_prepared_as_the_weights_had_them(
        self, run, coloured, train_options, tmp_path
    ):
        """With nothing learned the second run answers as the first one does."""
        first, options = tmp_path / "first", (*train_options, "--epochs 4 --lr 3e-3")
        given = "--pixels.mean [0.3,0.3,0.3] --pixels.std [0.05,0.06,0.07] --pixels.background "
        given += "[1,2,3] --pixels.interpolation nearest --pixels.crop-mode squash"
        run("train --data", coloured, "--out", first, *options, given)
        start = ("train --data", coloured, "--pretrained", first, "--freeze backbone")
        start = (*start, *train_options, "--epochs 1 --lr 1e-12 --out")
        printed = run(*start, tmp_path / "second").err.replace("\n", "")
        assert (
            f"pixels as the weights of {first} have them: mean [0.3, 0.3, 0.3], std [0.05, 0.06, "
            "0.07], background [1, 2, 3], interpolation nearest, crop_mode squash" in printed
        )
        models = [nommer.load(folder) for folder in (first, tmp_path / "second")]
        assert models[0].preprocessing == models[1].preprocessing
        results = [
            json.loads((folder / "result.json").read_text())
            for folder in (first, tmp_path / "second")
        ]
        assert results[1]["top1"] == results[0]["top1"]
        assert results[1]["loss"] == pytest.approx(results[0]["loss"], rel=1e-5)
        resumed = ("train --resume --epochs 2 --config", tmp_path / "second" / "config.yaml")
        run(*resumed, "--out", tmp_path / "second")
        others = ("--reinit-head", "--pixels.std [0.2,0.2,0.2]")
        printed = run(*start, tmp_path / "third", *others).err.replace("\n", "")
        assert (
            "pixels otherwise than the weights had them, as given: std [0.2, 0.2, 0.2], there "
            "[0.05, 0.06, 0.07]" in printed
        )
        assert nommer.load(tmp_path / "third").preprocessing.std == (0.2, 0.2, 0.2)

    def test_weights_of_timm_in_a_file(self, run, refused, coloured, train_options, tmp_path):
        torch.manual_seed(0)
        there = timm.create_model("test_resnet", num_classes=7).state_dict()
        torch.save({"state_dict": {f"module.{n}": v for n, v in there.items()}}, tmp_path / "a.pth")
        options = [o for o in train_options if "nommer" not in o and not o.startswith("--model")]
        start = (
            "train --data",
            coloured,
            *options,
            "--model timm:test_resnet --epochs 1 --lr 1e-12",
        )
        out = tmp_path / "run"
        printed = run(*start, "--pretrained", tmp_path / "a.pth", "--out", out).err.replace(
            "\n", ""
        )
        assert "; left there: fc (2); the classifier is new" in printed
        assert f"pixels as the weights of {tmp_path / 'a.pth'} have them: mean [0.5, 0.5, 0.5]" in (
            printed
        )
        after = weights(out)
        assert torch.allclose(there["conv1.0.weight"], after["network.conv1.0.weight"], atol=1e-6)
        assert nommer.load(out).preprocessing.mean == (0.5, 0.5, 0.5)
        said = refused(
            "train --data", coloured, *options, "--model timm:test_convnext --pretrained",
            tmp_path / "a.pth", "--out", tmp_path / "other",
        )  # fmt: skip
        assert "entries are not those of test_convnext: " in said
        assert said.endswith("; choose the --model that the weights are of")
        assert not (tmp_path / "other").exists()

    def test_a_model_for_another_task_gives_its_backbone(
        self, run, segmented, coloured, train_options, tmp_path
    ):
        train = (
            "train --data",
            coloured,
            "--pretrained",
            segmented,
            *train_options,
            "--epochs 1 --out",
            tmp_path / "run",
        )
        printed = run(*train, "--lr 1e-12").err.replace("\n", "")
        assert (
            "; new, for it is a model for segmentation: norm.weight (128,), there none; norm.bias "
            "(128,), there none; head.weight (3, 128)," in printed
        )
        before, after = weights(segmented), weights(tmp_path / "run")
        taken = before["network.backbone.stem.conv.weight"], after["network.stem.conv.weight"]
        assert torch.allclose(*taken, atol=1e-6)

    def test_another_image_size_resamples_the_position(
        self, run, trained, coloured, train_options, tmp_path
    ):
        options = ("--out", tmp_path / "run", *train_options, "--epochs 1 --image-size 40")
        run("train --data", coloured, "--pretrained", trained, *options)
        assert nommer.load(tmp_path / "run").network.config.img_size == (40, 40)

    def test_another_network_is_refused_with_the_difference(
        self, refused, trained, coloured, train_options, tmp_path
    ):
        sizes = "--image-size 64 --network.block-sizes [8,4] --network.window-size 8"
        options = ("--out", tmp_path / "run", *train_options, sizes)
        assert refused("train --data", coloured, "--pretrained", trained, *options) == (
            f"--pretrained {trained} is another network, with block_sizes (4, 4) (now (8, 4)), "
            "window_size 4 (now 8); "
            "choose the --model and --network options that it has"
        )
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("steps", ["several steps", "one step"])
def test_a_loss_that_is_no_number_ends_with_a_clear_error(
    refused, coloured, train_options, tmp_path, steps
):
    batch = "--batch-size 6" if steps == "several steps" else "--batch-size 18"
    options = (*train_options, "--lr 1e30 --optim.clip-grad 0 --optim.warmup-factor 1", batch)
    message = refused("train --data", coloured, "--out", tmp_path / "run", *options)
    if steps == "several steps":
        assert message.startswith(
            "the training loss became nan in epoch 1, step 2, which was not taken; "
        )
    else:
        assert message.startswith(
            "the validation loss became nan in epoch 1; there is no checkpoint yet; lower --lr"
        )
    assert not list(tmp_path.rglob("*.ckpt"))


def test_from_python_as_from_the_shell(trained, coloured, tmp_path):
    result = nommer.train(
        str(coloured), model="nommer_micro", epochs=2, batch_size=6, image_size=32, workers=0,
        device="cpu", out=str(tmp_path / "run"),
    )  # fmt: skip
    assert same(weights(trained), result.model.state_dict())
    assert result.out == tmp_path / "run"
    assert result.report.images == 9
    assert not result.model.training
    assert same(weights(tmp_path / "run"), result.model.state_dict())


def test_small_images_get_a_network_of_their_own_unless_one_is_named(
    run, coloured, train_options, tmp_path
):
    options = [one for one in train_options if not one.startswith(("--model", "--image-size"))]
    options += ["--image-size=48", f"--out={tmp_path / 'run'}", f"--data={coloured}"]
    said = run("train", *options).err
    assert "images of 48 x 48 pixels from scratch: nommer_mini64, the optimiser muon, a" in said
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    chosen = (written["model"], written["optim"]["name"], written["lr"])
    assert chosen == ("nommer_mini64", "muon", 2e-3)
    said = run("train", *options, "--resume --epochs=3").err
    assert "nommer_mini64: 3 classes" in said
    assert "from scratch" not in said
