"""Images with several classes each, from the table to every verb."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score

import nommer
from nommer.cli import main
from tests.run_contents import rows

CLASSES = ("blue", "green", "red")


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """40 images of 32 x 32: a square in each channel that is among the classes.

    Of every third none of one.
    """
    root = tmp_path_factory.mktemp("several")
    rng = np.random.default_rng(0)
    lines = ["path,split,blue,green,red"]
    for number in range(40):
        chosen = rng.integers(0, 2, 3)
        pixels = rng.integers(0, 60, (32, 32, 3))
        for channel in range(3):
            if chosen[channel]:
                x, y = rng.integers(0, 16, 2)
                pixels[y : y + 16, x : x + 16, 2 - channel] += 180
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"{number}.png")
        split = "train" if number < 24 else "val"
        lines.append(f"{number}.png,{split},{','.join(map(str, chosen))}")
    (root / "data.csv").write_text("\n".join(lines))
    return root / "data.csv"


@pytest.fixture(scope="module")
def multi_label_run(tmp_path_factory, table):
    out = tmp_path_factory.mktemp("run") / "run"
    options = "--model nommer_micro --epochs 3 --batch-size 8 --workers 0 --device cpu --lr 2e-3"
    assert main(["train", "--data", str(table), "--out", str(out), *options.split()]) == 0
    return out


def test_a_teacher_of_the_same_classes_gives_soft_answers(
    run, table, multi_label_run, of_timm, tmp_path
):
    options = "--model nommer_micro --epochs 1 --batch-size 8 --workers 0 --device cpu"
    given = ["train --data", table, options, "--out", tmp_path / "run"]
    told = run(*given, "--teacher", multi_label_run)
    assert "its soft answers and feature maps at strides 2, 4, 8, 16 are imitated" in told.err
    told = run(*given, "--overwrite", *of_timm)
    assert "its feature maps at strides 2, 4, 8, 16 are imitated, not its answers" in told.err


def truth_and_probabilities(run):
    found = rows(run / "predictions.csv")
    truth = np.array([[name in row["classes"].split(";") for name in CLASSES] for row in found])
    return truth, np.array([[float(row[f"p({name})"]) for name in CLASSES] for row in found])


def test_the_evaluation_is_scikit_learns(multi_label_run):
    truth, scores = truth_and_probabilities(multi_label_run)
    result = read(multi_label_run / "result.json")
    assert result["images"] == len(truth) == 16
    expected = [average_precision_score(truth[:, label], scores[:, label]) for label in range(3)]
    assert [row["ap"] for row in result["per_class"]] == pytest.approx(expected, abs=1e-4)
    assert result["mean_ap"] == pytest.approx(np.mean(expected), abs=1e-4)
    answered = scores >= 0.5
    assert result["macro_f1"] == pytest.approx(
        f1_score(truth, answered, average="macro", zero_division=0), abs=1e-6
    )
    assert result["micro_f1"] == pytest.approx(
        f1_score(truth, answered, average="micro", zero_division=0), abs=1e-6
    )
    assert result["exact_match"] == pytest.approx((truth == answered).all(1).mean(), abs=1e-6)
    entropy = -np.where(truth, np.log(scores), np.log(1 - scores)).mean()
    assert result["loss"] == pytest.approx(entropy, abs=1e-4)
    assert [row["images"] for row in result["per_class"]] == truth.sum(0).tolist()


def test_the_best_epoch_is_that_of_the_highest_map(multi_label_run):
    metrics = rows(multi_label_run / "metrics.csv")
    best = max(metrics, key=lambda row: float(row["val_mean_ap"]))
    assert read(multi_label_run / "result.json")["epoch"] == int(best["epoch"])
    for name in ("precision_recall.png", "val_predictions.jpg", "train_batch.jpg", "curves.png"):
        assert (multi_label_run / name).is_file()
    described = read(multi_label_run / "model" / "model.json")
    assert (described["task"], described["threshold"]) == ("multi-label classification", 0.5)


def test_evaluate_gives_the_same_numbers(run, multi_label_run, tmp_path):
    printed = run("evaluate", multi_label_run, "--workers 0 --out", tmp_path / "evaluated")
    assert "mean ap" in printed.out
    evaluated, result = (
        read(tmp_path / "evaluated" / "result.json"),
        read(multi_label_run / "result.json"),
    )
    assert {
        name: evaluated[name] for name in evaluated if name not in ("model", "precision", "runtime")
    } == {name: value for name, value in result.items() if name != "epoch"} | {
        "data": evaluated["data"]
    }


def test_predictions_answer_all_classes_that_reach_the_threshold(
    run, multi_label_run, table, tmp_path
):
    images = table.parent / "3*.png"
    run("predict", multi_label_run, images, "--threshold 0.3 --out", tmp_path / "answers")
    for answer in read(tmp_path / "answers" / "result.json"):
        above = {item["class"] for item in answer["top"] if item["probability"] >= 0.3}
        assert set(answer["classes"]) == above
        assert answer["threshold"] == 0.3
    for row in rows(tmp_path / "answers" / "predictions.csv"):
        assert row["answered"] == str(float(row["probability"]) >= 0.3)
    (prediction,) = nommer.load(multi_label_run).predict(str(table.parent / "0.png"))
    found = nommer.load(multi_label_run).decisions
    assert prediction.threshold == found.threshold  # of the best F1 on the validation images
    assert 0 <= min(prediction.probabilities) <= max(prediction.probabilities) <= 1


def test_an_exported_model_is_evaluated_the_same(run, multi_label_run, tmp_path):
    run("export", multi_label_run, "--out", tmp_path / "exported")
    model, data = tmp_path / "exported" / "model.onnx", read_data(multi_label_run)
    out = ("--out", tmp_path / "evaluated")
    run("evaluate", model, "--data", data, "--workers 0 --split val", *out)
    evaluated, result = (
        read(tmp_path / "evaluated" / "result.json"),
        read(multi_label_run / "result.json"),
    )
    assert evaluated["mean_ap"] == pytest.approx(result["mean_ap"], abs=1e-4)
    assert evaluated["threshold"] == 0.5


def read_data(run):
    return read(run / "result.json")["data"]


def test_check_counts_every_class_of_an_image(run, table, tmp_path):
    run("check", table, "--out", tmp_path / "checked")
    summary = read(tmp_path / "checked" / "result.json")
    listed = [row["class"] for row in rows(tmp_path / "checked" / "images.csv")]
    assert str(listed.count("")) in json.dumps(summary)
    assert any(";" in names for names in listed)


def test_images_are_explained_and_a_study_is_refused(
    run, refused, multi_label_run, table, tmp_path
):
    run("explain", multi_label_run, table.parent / "0.png", "--out", tmp_path / "explained")
    assert "multi-label" in refused(
        "explain", multi_label_run, "--data", table, "--out", tmp_path / "study"
    )
    sentence = refused(
        "explain", multi_label_run, table.parent / "0.png", "--sensitivity --out", tmp_path / "s"
    )
    assert "multi-label classification" in sentence


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--augment.mixup 0.5", "--augment.mixup: is for images of one class each"),
        ("--classification.class-weights balanced", "does nothing for multi-label classification"),
    ],
)
def test_what_needs_one_class_per_image_is_refused(refused, table, tmp_path, option, message):
    assert message in refused("train --data", table, "--out", tmp_path / "run", option)


def test_a_model_and_data_of_another_kind_do_not_go_together(refused, multi_label_run, coloured):
    sentence = refused("evaluate", multi_label_run, "--data", coloured)
    assert (
        "is laid out for classification, but the model does multi-label classification" in sentence
    )


def test_folds_as_one_answer_their_mean_by_thresholds_of_all_folds(run, table, tmp_path):
    out = tmp_path / "folds"
    options = "--folds 2 --model nommer_micro --epochs 2 --batch-size 8 --workers 0 --device cpu"
    run("train", "--data", table, "--out", out, options, "--lr 2e-3")
    held_out = read(out / "out_of_fold.json")
    assert len(held_out["images"]) == 24  # of train, each once
    truth = np.array([[name in row["classes"] for name in CLASSES] for row in held_out["images"]])
    answered = np.array([row["probabilities"] for row in held_out["images"]])
    told = read(out / "result.json")["decisions"]
    assert told["images"] == 24
    best = max(f1_score(truth.ravel(), answered.ravel() >= t) for t in np.unique(answered))
    assert f1_score(truth.ravel(), answered.ravel() >= told["threshold"]) == pytest.approx(best)

    together, image = nommer.load(out), str(table.parent / "30.png")
    assert together.decisions.class_thresholds == tuple(told["class_thresholds"])
    each = [nommer.load(out / f"fold-{fold}").predict(image)[0] for fold in range(2)]
    (answer,) = together.predict(image)
    mean = np.mean([one.probabilities for one in each], 0)
    assert answer.probabilities == pytest.approx(mean, abs=1e-5)
    above = mean >= told["class_thresholds"]
    assert answer.chosen == tuple(n for n, a in zip(CLASSES, above, strict=True) if a)

    printed = run("evaluate", out, out / "fold-0", "--data", table, "--out", tmp_path / "judged")
    assert "mean ap" in printed.out
    judged = read(tmp_path / "judged" / "result.json")
    low, high = judged["calibration"]["intervals"]["macro_f1_at_found_thresholds"]
    assert low <= judged["calibration"]["macro_f1_at_found_thresholds"] <= high
    (out / "result.json").write_text(json.dumps({"folds": [{"fold": 0}], "decisions": {"a": 1}}))
    with pytest.raises(nommer.InputError, match="damaged decisions"):
        nommer.load(out)
