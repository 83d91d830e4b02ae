"""`nommer evaluate`: one path of evaluation, classes by name, the same numbers wherever they are
asked for.
"""

import json
import shutil
import signal

import pytest
import torch
from PIL import Image

import nommer
from nommer.backbone.checkpoint import to_published
from nommer.backbone.variants import VARIANTS
from nommer.models.storage import save_model
from nommer.runs.folder import RunFolder
from nommer.tasks.classification.metrics import ClassificationMetrics
from tests.run_contents import rows

NUMBERS = (
    "images",
    "loss",
    "top1",
    "top5",
    "mean_class_accuracy",
    "macro_f1",
    "calibration_error",
    "confusion",
)


def result(folder):
    found = json.loads((folder / "result.json").read_text())
    return {name: found[name] for name in NUMBERS}


@pytest.fixture(scope="module")
def single_run(tmp_path_factory, write_classes, train_options):
    """A run on class folders alone, which it split itself; (run folder, data)."""
    root = tmp_path_factory.mktemp("single")
    data = write_classes(root / "data", {"blue": 7, "green": 7, "red": 7})
    arguments = [
        "train",
        "--data",
        str(data),
        "--out",
        str(root / "run"),
        *train_options,
        "--epochs=1",
    ]
    assert nommer.cli.main(arguments) == 0
    return root / "run", data


def test_gives_the_numbers_that_training_ended_with(run, trained, tmp_path):
    printed = run("evaluate", trained, "--out", tmp_path / "out", "--workers 0")
    assert result(tmp_path / "out") == result(trained)
    assert f"│ top1                │ {result(trained)['top1']:.4f} │" in printed.out
    assert rows(tmp_path / "out" / "predictions.csv") == rows(trained / "predictions.csv")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "calibration.png",
        "confusion_matrix.png",
        "data_issues.jsonl",
        "environment.json",
        "per_class.csv",
        "predictions.csv",
        "result.json",
        "risk_coverage.png",
        "val_predictions.jpg",
    }
    pictures = "confusion_matrix.png calibration.png risk_coverage.png val_predictions.jpg"
    for name in pictures.split():
        with Image.open(tmp_path / "out" / name) as picture:
            assert min(picture.size) > 200


def test_gives_them_for_a_split_that_the_run_made_too(run, single_run, tmp_path):
    out, data = single_run
    assert result(out)["images"] == 3
    for number, model in enumerate((out, out / "model")):
        for extra in ((), ("--data", data)):
            run(
                "evaluate",
                model,
                "--out",
                tmp_path / f"{number}{len(extra)}",
                "--workers 0",
                *extra,
            )
            assert result(tmp_path / f"{number}{len(extra)}") == result(out)


@pytest.mark.parametrize(
    "options", ["--batch-size 1", "--batch-size 4", "--workers 1", "--split val"]
)
def test_batches_and_workers_do_not_matter(run, trained, tmp_path, options):
    run("evaluate", trained, "--out", tmp_path / "out", "--workers 0", options)
    found, expected = result(tmp_path / "out"), result(trained)
    assert found["confusion"] == expected["confusion"]
    assert found["top1"] == expected["top1"]
    for name in ("loss", "calibration_error"):
        assert found[name] == pytest.approx(expected[name], abs=1e-5)


@pytest.mark.parametrize(("split", "images"), [("train", 18), ("val", 9), ("all", 27)])
def test_evaluates_the_split_asked_for(run, trained, tmp_path, split, images):
    printed = run("evaluate", trained, "--split", split, "--out", tmp_path / "out", "--workers 0")
    assert result(tmp_path / "out")["images"] == images
    assert f"{images} images of " in printed.err
    assert f"({split})" in printed.err


def test_the_parts_of_a_runs_own_split_are_disjoint_and_complete(run, single_run, tmp_path):
    out, _ = single_run
    files = []
    for split in ("train", "val"):
        run("evaluate", out, "--split", split, "--out", tmp_path / split, "--workers 0")
        files += [row["file"] for row in rows(tmp_path / split / "predictions.csv")]
    assert len(files) == len(set(files)) == 21


def test_classes_are_matched_by_name_whatever_their_order(run, trained, tmp_path, coloured):
    model = nommer.load(trained)
    order = [2, 0, 1]
    model.network.head.weight.data = model.network.head.weight.data[order]
    model.network.head.bias.data = model.network.head.bias.data[order]
    turned = nommer.Classifier(
        model.network,
        class_names=[model.class_names[i] for i in order],
        preprocessing=model.preprocessing,
    )
    save_model(tmp_path / "turned", turned, metrics={}, version="0")
    run(
        "evaluate",
        tmp_path / "turned",
        "--data",
        coloured,
        "--out",
        tmp_path / "out",
        "--workers 0",
    )
    assert result(tmp_path / "out")["top1"] == result(trained)["top1"]
    expected, found = result(trained)["confusion"], result(tmp_path / "out")["confusion"]
    assert found == [[expected[i][j] for j in order] for i in order]


def test_data_may_have_fewer_classes_than_the_model(run, trained, tmp_path, write_classes):
    write_classes(tmp_path / "data", {"red": 4, "blue": 2})
    printed = run(
        "evaluate", trained, "--data", tmp_path / "data", "--out", tmp_path / "out", "--workers 0"
    )
    assert [sum(row) for row in result(tmp_path / "out")["confusion"]] == [2, 0, 4]
    green = next(row for row in rows(tmp_path / "out" / "per_class.csv") if row["class"] == "green")
    assert (green["images"], green["recall"]) == ("0", "")
    assert "(all)" in printed.err


def test_bad_images_are_an_error_or_left_out_and_listed(run, refused, trained, coloured, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(coloured, data)
    (data / "val" / "red" / "red-0.png").write_text("no image")
    evaluate = ("evaluate", trained, "--data", data, "--out", tmp_path / "out", "--workers 0")
    assert "1 of 9 images cannot be read (none is allowed)" in refused(*evaluate)
    printed = run(*evaluate, "--on-bad-sample skip")
    assert "8 images" in printed.err
    assert "1 issues, 1 files left out: see data_issues.jsonl" in printed.err
    assert "red-0.png" in (tmp_path / "out" / "data_issues.jsonl").read_text()


def test_results_go_into_the_run_folder_under_a_new_name_each_time(
    run, trained, tmp_path, monkeypatch, coloured
):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "run"
    shutil.copytree(trained, own)
    for _ in range(2):
        assert f"tables and plots in {own}/evaluate" in run("evaluate", own, "--workers 0").out
    assert (own / "evaluate" / "result.json").exists()
    assert (own / "evaluate-2" / "result.json").exists()
    run("evaluate", own / "model", "--workers 0 --data", coloured)
    assert (own / "evaluate-3" / "result.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "nothing outside the run folder"


def test_a_published_checkpoint_is_evaluated_like_any_model(run, tmp_path, write_classes):
    torch.manual_seed(0)
    network = nommer.NomMer(VARIANTS["nommer_micro"])
    network.reset_classifier(2)
    torch.save(to_published(network.state_dict()), tmp_path / "published.pth")
    data = write_classes(tmp_path / "data", {"class 0": 2, "class 1": 2})
    run(
        "evaluate",
        tmp_path / "published.pth",
        "--data",
        data,
        "--out",
        tmp_path / "out",
        "--workers 0",
    )
    assert result(tmp_path / "out")["images"] == 4


def test_a_stop_from_the_keyboard_ends_quietly(run, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(
        ClassificationMetrics, "compute", lambda self: signal.raise_signal(signal.SIGINT)
    )
    printed = run("evaluate", trained, "--out", tmp_path / "out", "--workers 0", code=130)
    assert printed.err.splitlines()[-1] == "stopped"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "Ctrl-C works again"


def test_from_python_with_text_for_paths(trained, tmp_path):
    found = nommer.evaluate(str(trained), out=str(tmp_path / "out"), workers=0)
    assert found.report.top1 == result(trained)["top1"]
    assert [row["class"] for row in found.per_class] == ["blue", "green", "red"]
    assert found.out == tmp_path / "out"


def test_other_data_with_the_same_file_names_is_evaluated_whole(
    run, write_classes, train_options, tmp_path
):
    data = write_classes(tmp_path / "data", {"blue": 6, "red": 6})
    other = write_classes(tmp_path / "other", {"blue": 8, "red": 8}, seed=9)
    run("train --data", data, "--out", tmp_path / "run", *train_options)
    run("evaluate", tmp_path / "run", "--data", other, "--out", tmp_path / "result", "--workers 0")
    assert json.loads((tmp_path / "result" / "result.json").read_text())["images"] == 16


def test_what_training_left_out_evaluation_leaves_out_too(
    run, refused, write_classes, train_options, tmp_path, monkeypatch
):
    data = write_classes(tmp_path / "data" / "train", {"blue": 6, "red": 6}).parent
    write_classes(data / "val", {"blue": 3, "red": 3})
    bad = data / "val" / "red" / "red-0.png"
    bad.write_bytes(bad.read_bytes()[:100])
    monkeypatch.chdir(tmp_path)
    run("train --data data --out run", *train_options, "--on-bad-sample skip")
    monkeypatch.chdir(data)  # wherever the run and its data are named from
    printed = run("evaluate", tmp_path / "run", "--out", tmp_path / "result", "--workers 0")
    assert "1 issues, 1 files left out" in printed.err
    assert json.loads((tmp_path / "result" / "result.json").read_text())["images"] == 5
    assert "left out, as in training" in (tmp_path / "result" / "data_issues.jsonl").read_text()
    (tmp_path / "link").symlink_to(data)
    run(
        "evaluate",
        tmp_path / "run",
        "--data",
        tmp_path / "link",
        "--out",
        tmp_path / "linked",
        "--workers 0",
    )
    assert result(tmp_path / "linked") == result(tmp_path / "result")
    (issue,) = RunFolder(tmp_path / "linked").read_issues()
    assert (issue.file, issue.done) == (
        str(tmp_path / "link" / "val/red/red-0.png"),
        "left out, as in training",
    )
    moved = tmp_path / "moved"
    data.rename(moved)
    assert "1 of 6 images cannot be read" in refused(
        "evaluate", tmp_path / "run", "--data", moved, "--out", tmp_path / "x", "--workers 0"
    )
