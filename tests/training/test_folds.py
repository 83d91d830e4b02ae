"""Training in folds: every image is held back once, and doubtful labels are told."""

import json
import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

import nommer
from nommer.checksums import with_checksums
from nommer.data.folds import fold_numbers, hold_back_fold, strata_of
from nommer.data.formats.folders import ClassFolders, Sample
from nommer.errors import InputError
from nommer.runs.folder import RunFolder
from nommer.settings.pretrain import PretrainSettings
from nommer.settings.train import TrainSettings
from nommer.tasks.classification.data import ClassificationSource
from nommer.tasks.doubts import doubts_of_classes, doubts_of_multi_label
from nommer.training.fold import FOLD, read_fold
from nommer.training.folds import spread_of
from tests.run_contents import rows

OPTIONS = {"model": "nommer_micro", "epochs": 1, "batch_size": 6, "image_size": 32, "workers": 0,
           "device": "cpu"}  # fmt: skip


def labelled(labels, root=Path("data")):
    samples = tuple(Sample(root / f"{at:03}.png", label) for at, label in enumerate(labels))
    names = tuple(f"class {label}" for label in range(max(labels) + 1))
    return ClassFolders(root, names, {"train": samples})


def parts(data, digests=None, folds=3, seed=0):
    classes = {sample.path: sample.classes for sample in data.samples()}
    options = {"folds": folds, "seed": seed}
    return [
        hold_back_fold(data, classes, digests or {}, fold=fold, **options) for fold in range(folds)
    ]


def test_every_image_is_held_back_once_and_classes_are_spread_evenly():
    data = labelled([0] * 9 + [1] * 6)
    held = [part.splits["val"] for part in parts(data)]
    assert sorted(s.path for part in held for s in part) == [s.path for s in data.samples()]
    assert [sorted(s.label for s in part) for part in held] == [[0, 0, 0, 1, 1]] * 3
    for part in parts(data):
        assert not set(part.splits["train"]) & set(part.splits["val"])
        assert len(part.samples()) == 15


def test_the_order_of_the_files_does_not_matter_and_the_seed_does():
    data = labelled([0, 1] * 10)
    turned = ClassFolders(data.root, data.class_names, {"train": data.splits["train"][::-1]})
    held = [{s.path for s in part.splits["val"]} for part in parts(data)]
    assert held == [{s.path for s in part.splits["val"]} for part in parts(turned)]
    assert held != [{s.path for s in part.splits["val"]} for part in parts(data, seed=1)]


def test_files_of_the_same_bytes_are_in_the_same_fold():
    data = labelled([0, 1] * 9)
    digests = {s.path: f"{at // 3}" for at, s in enumerate(data.samples())}
    for part in parts(data, digests):
        held = {digests[s.path] for s in part.splits["val"]}
        assert held
        assert not held & {digests[s.path] for s in part.splits["train"]}


def test_a_val_of_the_data_is_neither_learned_from_nor_looked_at():
    data = labelled([0, 1] * 6)
    kept = (Sample(Path("data/val.png"), 0),)
    both = ClassFolders(data.root, data.class_names, data.splits | {"val": kept})
    assert all(kept[0] not in part.samples() for part in parts(both))


def test_small_classes_are_told_and_spread_as_they_can_be(capsys):
    data = labelled([0] * 9 + [1] * 2)
    assert [len(part.splits["val"]) for part in parts(data)] in ([4, 4, 3], [4, 3, 4], [3, 4, 4])
    assert "some folds have none: class 1" in " ".join(capsys.readouterr().err.split())


def test_classes_of_one_image_each_are_split_at_random():
    assert sorted(np.bincount(fold_numbers(np.arange(7), list("abcdefg"), folds=3, seed=0))) == [
        2,
        2,
        3,
    ]


def test_the_rarest_class_of_an_image_counts():
    assert strata_of([(0, 1), (0,), (0,), ()]).tolist() == [1, 0, 0, -1]


def test_fewer_images_than_folds_are_refused():
    with pytest.raises(InputError, match=r"--folds 3: data has 2 different training images"):
        parts(labelled([0, 0, 0]), {Path(f"data/00{at}.png"): "aab"[at] for at in range(3)})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"folds": 1}, "--folds must be 2 or more"),
        ({"fold": 0}, "--fold: expected --folds beside it, got 0"),
        ({"folds": 3, "fold": 3}, "--fold: expected 0 to 2, got 3"),
        ({"folds": 3, "time_limit": "1h"}, "--time-limit: is for one run"),
    ],
)
def test_settings_that_do_not_fit(options, said):
    with pytest.raises(InputError, match=said):
        TrainSettings(Path("data"), **options)


def test_a_pretraining_has_no_folds():
    assert not PretrainSettings(Path("data"), teacher="nommer_nano").several_runs


def test_a_swapped_label_is_doubted_most_and_estimated_to_be_wrong():
    random = np.random.default_rng(0)
    names, answers = ["a", "b", "c"], []
    for at in range(30):
        chances = random.dirichlet([1, 1, 1]) * 0.2
        chances[at % 3] += 0.8
        label = names[at % 3] if at else "b"
        answers.append({"file": f"{at}", "class": label, "probabilities": chances.tolist()})
    first, *others = doubts_of_classes(answers, names)
    assert (first.file, first.label, first.answer, first.wrong) == ("0", "b", "a", True)
    assert not any(doubt.wrong for doubt in others)
    assert all(0 <= doubt.quality <= 1 for doubt in (first, *others))


def test_a_class_that_an_image_lacks_or_has_too_much_is_doubted_most():
    answers = [{"file": f"{at}", "classes": ["a"], "probabilities": [0.9, 0.1]} for at in range(8)]
    answers[3]["probabilities"] = [0.9, 0.95]
    first = doubts_of_multi_label(answers, ["a", "b"])[0]
    assert (first.file, first.label, first.answer) == ("3", "a", "a, b")


@pytest.fixture(scope="module")
def folded(tmp_path_factory, write_classes):
    data = write_classes(tmp_path_factory.mktemp("data") / "all", {"blue": 6, "red": 6})
    shutil.copy(data / "blue" / "blue-0.png", data / "blue" / "copy.png")
    out = tmp_path_factory.mktemp("folds") / "run"
    audit = ClassificationSource.audit
    with patch.object(ClassificationSource, "audit", autospec=True, side_effect=audit) as audited:
        result = nommer.train(data, out=out, folds=2, **OPTIONS)
    assert audited.call_count == 1, "the data are read once for all folds"
    return data, out, result


@pytest.mark.usefixtures("sketched")
def test_folds_leave_runs_numbers_answers_and_doubts(folded):
    data, out, result = folded
    table = rows(out / "out_of_fold.csv")
    assert sorted(Path(row["file"]).relative_to(data).as_posix() for row in table) == sorted(
        path.relative_to(data).as_posix() for path in data.rglob("*.png")
    )
    folds = {Path(row["file"]).name: row["fold"] for row in table}
    assert folds["copy.png"] == folds["blue-0.png"]
    for row in table:
        assert float(row["probability of blue"]) + float(row["probability of red"]) == (
            pytest.approx(1, abs=1e-5)
        )
    told = json.loads((out / "result.json").read_text())
    top1 = next(row for row in told["numbers"] if row["number"] == "top1")
    values = [fold["top1"] for fold in told["folds"]]
    assert (top1["mean"], top1["spread"]) == pytest.approx(
        (np.mean(values), np.std(values, ddof=1))
    )
    assert spread_of(result.folds) == told["numbers"]
    assert len(result.doubts) == len(table)
    page = (out / "doubtful_labels.html").read_text()
    assert "Doubtful labels: all" in page
    assert "https://" not in page
    for number in (0, 1):
        assert nommer.load(out / f"fold-{number}").class_names == ("blue", "red")


@pytest.mark.usefixtures("sketched")
def test_all_folds_together_are_an_ensemble(folded, tmp_path):
    data, out, _ = folded
    images = sorted(data.rglob("*.png"))[:3]
    answers = nommer.predict(out, images, out=tmp_path / "answers").predictions
    each = [nommer.load(out / f"fold-{number}").predict(images) for number in (0, 1)]
    for answer, *parts in zip(answers, *each, strict=True):
        expected = np.mean([part.probabilities for part in parts], 0)
        assert answer.probabilities == pytest.approx(expected, abs=1e-5)
    options = {"workers": 0, "device": "cpu"}
    with pytest.raises(InputError, match="was learned from by all of them but one"):
        nommer.evaluate(out, out=tmp_path / "none", **options)
    judged = nommer.evaluate(out, split="train", out=tmp_path / "judged", **options)
    assert judged.report.images == 13
    for verb in (nommer.embed, nommer.export):
        with pytest.raises(InputError, match=r"is an ensemble of folds.*fold-0"):
            verb(out, data=data, out=tmp_path / "no")


@pytest.mark.usefixtures("sketched")
def test_finished_folds_stay_and_the_others_go_on(folded, tmp_path, capsys):
    data, out, result = folded
    copy = tmp_path / "run"
    shutil.copytree(out, copy)
    for name in ("fold.json", "model", "result.json"):
        path = copy / "fold-1" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = (copy / "fold-0" / "result.json").stat().st_mtime_ns
    capsys.readouterr()
    again = nommer.train(data, out=copy, folds=2, resume=True, **OPTIONS)
    assert "fold 0: is finished" in capsys.readouterr().err
    assert (copy / "fold-0" / "result.json").stat().st_mtime_ns == before
    assert again.numbers == result.numbers
    assert (copy / "out_of_fold.csv").read_bytes() == (out / "out_of_fold.csv").read_bytes()


@pytest.mark.usefixtures("sketched")
def test_one_fold_alone_is_the_same_run(folded, tmp_path):
    data, out, _ = folded
    alone = nommer.train(data, out=tmp_path / "one", folds=2, fold=1, **OPTIONS)
    assert rows(tmp_path / "one" / "split.csv") == rows(out / "fold-1" / "split.csv")
    assert (
        alone.report.summary() == json.loads((out / "fold-1" / "fold.json").read_text())["numbers"]
    )


def test_a_folder_with_folds_is_refused_in_one_sentence(folded):
    data, out, _ = folded
    with pytest.raises(InputError, match="or --resume to go on with the folds"):
        nommer.train(data, out=out, folds=2, **OPTIONS)
    with pytest.raises(InputError, match="cannot resume with other settings"):
        nommer.train(data, out=out, folds=3, resume=True, **OPTIONS)
    with pytest.raises(InputError, match="which may not be deleted"):
        nommer.train(data, out=out, overwrite=True, **OPTIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"numbers": {"top1": 0.9}}, "is damaged or was changed"),
        ({"sha256": {}}, "is damaged: it lacks images"),
    ],
)
def test_what_a_fold_left_is_read_as_it_was_written(tmp_path, changes, message):
    told = {"task": "classification", "fold": 0, "epochs": 2, "epoch": 1, "measure": "top1"}
    told |= {"numbers": {"top1": 0.5}, "class_names": ["a", "b"], "images": []}
    told = with_checksums(told, FOLD, {}) | changes
    if "sha256" in changes:  # one from before there were checksums
        del told["sha256"], told["images"]
    (tmp_path / FOLD).write_text(json.dumps(told))
    if message is None:
        assert read_fold(RunFolder(tmp_path), 2).numbers == {"top1": 0.5}
        assert read_fold(RunFolder(tmp_path), 3) is None
        return
    with pytest.raises(InputError, match=message):
        read_fold(RunFolder(tmp_path), 2)
