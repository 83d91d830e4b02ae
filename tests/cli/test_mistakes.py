"""The user's mistakes.

One sentence that names what is wrong and what to do, exit code 2, and nothing left behind.
"""

import json
import os
import shutil

import pytest
import torch
from PIL import Image

import nommer
from nommer.errors import InputError
from nommer.models.storage import save_model

pytestmark = pytest.mark.usefixtures("sketched")

TRAIN_MISTAKES = {
    "unknown model": (
        "--model nommer_huge",
        "--model 'nommer_huge' is not known; choose from nommer_tiny, nommer_small",
    ),
    "no epochs": ("--epochs 0", "--epochs must be 1 or more, got 0"),
    "small image": ("--image-size 31", "image_size must be 32 pixels or more, got 31"),
    "large batch": (
        "--batch-size 19",
        "--batch-size 19 is larger than the 18 training images; use 18 or less",
    ),
    "odd batch": ("--batch-size 3 --augment.mixup 1", "--batch-size must be even, got 3"),
    "no number": ("--epochs many", "--epochs: Expected int. Got value: many"),
    "no such choice": (
        "--precision 64",
        "--precision: Expected one of 'auto', '32', 'bf16', '16'. Got value: 64",
    ),
    "no list": (
        "--augment.scale 0.5",
        "--augment.scale: Expected a list of 2 values. Got value: [0.5]",
    ),
    "no logger": (
        "--loggers tensorboard",
        "--loggers: Expected one of 'wandb', 'mlflow'. Got value: tensorboard",
    ),
    "nearly an option": (
        "--epoch 3",
        "--epoch: no such option; did you mean --epochs or --epoch-steps?",
    ),
    "nearly a group's option": (
        "--optim.weight-deca-y 1",
        "unrecognized arguments: --optim.weight-deca-y 1; did you mean --optim.weight-decay?",
    ),
    "option of files": (
        "--detection.protocol.nms 0.4",
        "--detection.protocol.nms: is set in a file (--config) or from Python only",
    ),
    "network of timm": (
        "--model resnet50",
        "--model 'resnet50' is not known; choose from nommer_tiny, nommer_small, nommer_base, "
        "nommer_micro, nommer_pico, nommer_nano, nommer_pico64, nommer_nano64, nommer_mini64, or "
        "timm:NAME for one of timm; did you mean timm:resnet50?",
    ),
    "nearly a variant": ("--model nommer_nan", "did you mean nommer_nano?"),
    "no such option": ("--learning-rate 1", "unrecognized arguments: --learning-rate 1"),
    "no such device": (
        "--device gpu",
        "--device 'gpu' is not known; use auto, cpu, cuda, cuda:0, cuda:0,1 or mps",
    ),
    "device number": ("--device cpu:1", "only cuda devices have numbers"),
    "smoothing": (
        "--optim.label-smoothing 1",
        "optim.label_smoothing must be at least 0 and below 1, got 1",
    ),
    "optimiser": ("--optim.name adamm", "optim.name 'adamm' is no optimiser of timm"),
    "policy": (
        "--augment.auto-augment rainbow",
        "augment.auto_augment 'rainbow' is no policy of timm",
    ),
    "scale": (
        "--augment.scale [0.9,0.1]",
        "augment.scale must be two numbers with 0 < low <= high <= 1",
    ),
    "crop": ("--pixels.crop-pct 2", "crop_pct must be above 0 and at most 1, got 2"),
    "drop path": (
        "--network.drop-path-rate 1",
        "drop_path_rate must be at least 0 and below 1, got 1",
    ),
    "patch": (
        "--network.patch-size 3",
        "--network.patch-size: Expected one of 1, 2, 4. Got value: 3",
    ),
    "checkpoint minutes": (
        "--checkpoint-minutes -1",
        "--checkpoint-minutes must be 0 or more, got -1",
    ),
    "new head of nothing": (
        "--reinit-head",
        "--reinit-head: does nothing without --pretrained; leave it out",
    ),
    "pretrained": ("--pretrained nowhere", "nowhere: does not exist; expected a run folder"),
    "config": (
        "--config nowhere.yaml",
        "--config nowhere.yaml: no such file, and no recipe of this name; recipes: ade20k",
    ),
    "recipe": (
        "--config=imagenet1k_nommer_huge",
        "imagenet1k_nommer_huge: no such file, and no recipe of this name",
    ),
}


@pytest.mark.parametrize(("options", "message"), TRAIN_MISTAKES.values(), ids=TRAIN_MISTAKES.keys())
def test_train_names_the_mistake(refused, coloured, train_options, tmp_path, options, message):
    found = refused("train --data", coloured, "--out", tmp_path / "run", *train_options, options)
    assert message in found
    assert not (tmp_path / "run").exists()


def test_train_needs_data(refused, tmp_path):
    assert refused("train --out", tmp_path / "run") == "the following arguments are required: data"
    assert "no such folder; accepted layouts" in refused(
        "train --data", tmp_path / "nowhere", "--out", tmp_path / "run"
    )
    assert "found no folders of images; accepted layouts" in refused(
        "train --data", tmp_path, "--out", tmp_path / "run"
    )


def test_bad_images_stop_training_before_anything_is_written(
    refused, write_classes, tmp_path, train_options
):
    write_classes(tmp_path / "data", {"blue": 4, "red": 4})
    bad = tmp_path / "data" / "red" / "red-2.png"
    bad.write_bytes(bad.read_bytes()[:200])
    message = refused("train --data", tmp_path / "data", "--out", tmp_path / "run", *train_options)
    assert message.startswith(
        f"1 of 8 images cannot be read (at most 1% is left out without being asked to): {bad}: "
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("colour: red", "Option 'colour' is not accepted"),
        ("optim:\n  momentum: 3", "Group 'optim' does not accept option 'momentum'"),
        ("epochs: [1, 2]", "--epochs: Expected int. Got value: [1, 2]"),
        (
            "epochs: 3\n  lr: 1",
            "Problems parsing config: mapping values are not allowed in this context",
        ),
        ("just text", "Unexpected config: just text"),
    ],
)
def test_a_config_file_that_does_not_fit_is_refused(refused, coloured, tmp_path, yaml, message):
    (tmp_path / "a.yaml").write_text(yaml)
    found = refused(
        "train --data", coloured, "--out", tmp_path / "run", "--config", tmp_path / "a.yaml"
    )
    assert found.startswith(f"--config {tmp_path / 'a.yaml'}: {message}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("yaml", ["lr: {}", "augment:\n  hflip: {}", "pixels:\n  mean: [0, {}, 0]"])
def test_numbers_too_long_for_a_computer_are_refused(refused, coloured, tmp_path, yaml):
    (tmp_path / "a.yaml").write_text(yaml.format("9" * 400))
    train = ("train --data", coloured, "--out", tmp_path / "run")
    told = refused(*train, "--config", tmp_path / "a.yaml")
    assert "400 digits" in told
    assert len(told) < 300
    option = f"--{yaml.partition(':')[0]}"
    if option == "--lr":
        told = refused(*train, f"--val-fraction={'9' * 400}")
        assert told == "--val-fraction is a number of more than 300 digits"
        told = refused(*train, f"--lr={'9' * 400}")  # which may be none, too
        assert told == "--lr: a number is too large. Got value: 9999... (400 digits)"


def test_numbers_too_long_are_refused_from_python_too(tmp_path):
    for field, most in (("lr", 401), ("epochs", 401)):
        with pytest.raises(InputError, match=f"--{field} must be .* a number of {most} digits"):
            nommer.train(data=tmp_path, out=tmp_path / "run", **{field: 10**400})


def test_a_config_file_in_another_encoding_is_refused_by_its_name(refused, coloured, tmp_path):
    config = tmp_path / "a.yaml"
    config.write_text("epochs: 3\n", encoding="utf-16")
    found = refused("train --data", coloured, "--out", tmp_path / "run", "--config", config)
    assert found.startswith(f"--config {config}: is no text in UTF-8 (")


def test_a_network_of_timm_that_takes_one_size_is_refused_before_anything_is_written(
    refused, coloured, tmp_path
):
    options = "--model timm:deit_tiny_patch16_224 --image-size 64 --workers 0 --device cpu"
    found = refused("train --data", coloured, "--out", tmp_path / "run", options)
    assert found.startswith("--model timm:deit_tiny_patch16_224: does not take images of 64 x 64: ")
    assert "or build it for this one: --network.timm '{img_size: 64}'" in found
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["evaluate", "predict", "explain"])
def test_models_that_are_none_are_refused(refused, verb, tmp_path, coloured):
    images = () if verb == "evaluate" else (coloured,)
    assert "nowhere: does not exist" in refused(verb, tmp_path / "nowhere", *images)
    assert "holds no model" in refused(verb, tmp_path, *images)
    (tmp_path / "a.pt").write_text("hello")
    assert "is no checkpoint of plain tensors" in refused(verb, tmp_path / "a.pt", *images)


def test_evaluate_names_the_mistake(
    refused, trained, tiny_classifier, coloured, tmp_path, write_classes
):
    options = ("--out", tmp_path / "out", "--workers 0")
    assert "has no split 'test'; found train, val; choose with --split" in refused(
        "evaluate", trained, "--split test", *options
    )
    assert "--batch-size must be 1 or more, got 0" in refused(
        "evaluate", trained, "--batch-size 0", *options
    )
    assert "--workers must be 0 or more, got -1" in refused(
        "evaluate", trained, "--out", tmp_path / "out", "--workers -1"
    )
    write_classes(tmp_path / "other", {"blue": 1, "violet": 1})
    assert refused("evaluate", trained, "--data", tmp_path / "other", *options) == (
        f"{tmp_path / 'other'}: class violet is not among the model's classes; found 2: blue, "
        "violet; "
        "expected 3: blue, green, red"
    )
    save_model(tmp_path / "apart", tiny_classifier(), metrics={}, version="0")
    assert "is no run folder, so it does not say what data to use; give --data" in refused(
        "evaluate", tmp_path / "apart", *options
    )
    assert not (tmp_path / "out").exists()


def test_evaluate_says_when_the_runs_data_are_gone(refused, trained, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(trained, moved)
    config = (moved / "config.yaml").read_text().splitlines()
    lines = ["data: /gone/away" if line.startswith("data:") else line for line in config]
    (moved / "config.yaml").write_text("\n".join(lines))
    assert "/gone/away: no such folder" in refused("evaluate", moved)


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_images_that_are_none_are_refused(refused, verb, trained, tmp_path):
    out = ("--out", tmp_path / "out")
    assert "no images in this folder" in refused(verb, trained, tmp_path, *out)
    assert "*.bmp: the pattern matches no file" in refused(verb, trained, f"{tmp_path}/*.bmp", *out)
    nothing = {
        "predict": "no images given; name files",
        "explain": "nothing to explain: name images",
    }
    assert refused(verb, trained, *out).startswith(nothing[verb])
    assert not (tmp_path / "out").exists()


def test_predict_names_the_mistake(refused, trained, coloured, tmp_path):
    predict = ("predict", trained, coloured, "--out", tmp_path / "out")
    assert "--top must be 1 or more, got 0" in refused(*predict, "--top 0")
    assert "--batch-size must be 1 or more, got -3" in refused(*predict, "--batch-size -3")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["evaluate", "predict", "explain"])
def test_results_are_overwritten_only_when_told(run, refused, verb, trained, coloured, tmp_path):
    images = ("--workers 0",) if verb == "evaluate" else (coloured / "val" / "red",)
    command = (verb, trained, *images, "--out", tmp_path / "out")
    run(*command)
    before = (tmp_path / "out" / "result.json").read_text()
    (tmp_path / "out" / "mark").touch()
    assert refused(*command).startswith(
        f"{tmp_path / 'out'}: exists and is not empty; choose another --out"
    )
    assert (tmp_path / "out" / "mark").exists()
    run(*command, "--overwrite")
    assert not (tmp_path / "out" / "mark").exists()
    assert (tmp_path / "out" / "result.json").read_text() == before


def test_no_verb_and_an_unknown_verb(refused):
    assert "verb" in refused()
    assert "learn" in refused("learn")
    assert refused("trian").endswith("; did you mean train?")


@pytest.mark.slow
def test_a_shell_sees_exit_code_2_and_a_traceback_only_with_debug(shell, run, tmp_path):
    mistake = ("train --data", tmp_path / "nowhere", "--out", tmp_path / "run")
    quiet, debug = shell(*mistake), run(*mistake, "--debug", code=2)
    assert quiet.returncode == 2
    assert quiet.stderr.startswith(f"error: {tmp_path / 'nowhere'}: no such folder")
    assert "Traceback" not in quiet.stderr
    assert quiet.stdout == ""
    assert "Traceback" in debug.err
    assert "InputError" in debug.err
    assert debug.err.rstrip().endswith(quiet.stderr.rstrip())


def test_an_error_of_the_system_is_one_line(run, trained, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("nommer.tasks.classification.results.save_predictions", full)
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    printed = run("predict", trained, tmp_path / "a.png", "--out", tmp_path / "out", code=2)
    assert printed.err.splitlines()[1:] == [
        "error: [Errno 28] No space left on device (--debug shows where)"
    ]
    assert json.loads((tmp_path / "out" / "environment.json").read_text())["command"]


def test_a_full_device_says_what_helps(run, trained, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("nommer.inference.evaluate.evaluate_model", full)
    printed = run("evaluate", trained, "--out", tmp_path / "out", code=2)
    assert printed.err.startswith(
        "error: the memory of the device is full; use a smaller --batch-size"
    )


def test_an_image_that_goes_bad_after_the_audit_stops_training_with_its_name(
    refused, write_classes, tmp_path, train_options, monkeypatch
):
    write_classes(tmp_path / "data", {"blue": 6, "red": 6})
    monkeypatch.setattr(
        "nommer.data.audit.DECODE_LIMIT", 0
    )  # as with very many images, only headers are read before
    bad = tmp_path / "data" / "red" / "red-2.png"
    bad.write_bytes(bad.read_bytes()[:-500])
    for workers in ("0", "1"):
        options = ("--out", tmp_path / workers, *train_options, "--workers", workers)
        message = refused("train --data", tmp_path / "data", *options)
        assert message.startswith(f"{bad}: cannot be decoded: ")
