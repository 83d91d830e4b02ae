"""The comparison of accuracy.

Every network of every suite can be trained by the recipe, and what is left of runs.
"""

import json
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nommer.cli import main
from nommer.cli.parser import parse
from nommer.data.formats.folders import ClassFolders
from nommer.models.storage import save_model
from nommer.recipes import recipe_names
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Found
from nommer.tasks.registry import TASKS


@pytest.mark.parametrize("suite", ["small", "stride_4", "large", "settings"])
def test_every_network_of_a_suite_is_built_by_its_recipe(script, suite):
    accuracy = script("accuracy")
    names = tuple(map(str, range(200)))
    data = ClassFolders(Path("data"), names, {"train": range(1000), "val": range(100)})
    costs = {}
    for name, told in accuracy.SUITES[suite].items():
        words = ["train", "--data", "x", "--config", "tiny_imagenet_200", *shlex.split(told)]
        settings = TrainSettings(**parse(words))
        task = TASKS["classification"]
        settings = task.resolve(settings, Found(data, short_side=64))
        with torch.device("meta"):
            network = task.model.build(settings, data).network
        assert network.num_classes == 200
        costs[name] = accuracy.giga_macs(network, 64) if suite != "settings" else None
    if suite != "settings":
        ours = costs["nommer_tiny"] if suite == "large" else costs["nommer_nano"]
        peers = {name: cost for name, cost in costs.items() if not name.startswith("nommer")}
        assert all(ours / 2.1 < cost < 2.1 * ours for cost in peers.values()), costs


def test_runs_are_started_skipped_reported_and_refused_with_other_arguments(
    script, tmp_path, coloured, capsys
):
    runs = script("runs")
    told = (
        "--data",
        str(coloured),
        "--model",
        "nommer_micro",
        "--image-size",
        "32",
        "--workers",
        "0",
        "--device=cpu",
    )
    made = [runs.Run("a, b 0.5", 3, tmp_path, (*told, "--epochs", "1"))]
    bad = runs.Run("bad", 0, tmp_path, ("--data", str(tmp_path / "nothing")))
    assert runs.finish([*made, bad], jobs=2) == [bad]
    assert made[0].out.name == "a-b_0.5-3"
    assert json.loads((made[0].out / "result.json").read_text())["epoch"] == 1
    assert (tmp_path / "a-b_0.5-3.log").read_text().count("top-1") > 0
    said = capsys.readouterr().err
    assert "a-b_0.5-3 is finished: top-1" in said
    assert "bad-0 failed: error:" in said
    assert (
        runs.finish(
            [runs.Run("a, b 0.5", 3, tmp_path, (*told, "--workers", "1", "--epochs", "1"))], jobs=1
        )
        == []
    )
    assert "1 of 1 runs are finished" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="was trained with other arguments"):
        runs.finish([runs.Run("a, b 0.5", 3, tmp_path, (*told, "--epochs", "2"))], jobs=1)
    accuracy = script("accuracy")
    (row,) = rows = accuracy.collect(made)
    accuracy.count(rows)
    assert (row["epochs"], row["image_size"], len(row["seeds"][3]["curve"])) == (1, 32, 1)
    assert "a, b 0.5 (1)" in accuracy.as_table([row])
    accuracy.measure(rows, device="cpu", batch=2, rounds=1)
    accuracy.draw(rows, tmp_path / "accuracy.png")
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000
    (tmp_path / "results.json").write_text(json.dumps(rows))
    (again,) = found = accuracy.collect(made)
    accuracy.remember(found, tmp_path / "results.json")
    assert again["trained_per_second"] == row["trained_per_second"] > 0
    assert "one CPU core, float32, batches of 2" in accuracy.describe(rows)


def test_the_table_has_a_column_for_the_teacher(script):
    accuracy = script("accuracy")
    row = {"name": "a", "parameters": 1_000_000, "giga_macs": 0.5}
    seeds = [{"top1": top1, "top5": None, "curve": [top1]} for top1 in (0.5, 0.7, 0.6, 0.8)]
    plain, taught = dict(enumerate(seeds[:2])), dict(enumerate(seeds[2:]))
    rows = [{**row, "seeds": plain}, {**row, "name": f"a{accuracy.TAUGHT}", "seeds": taught}]
    head, _, line = accuracy.as_table(rows).splitlines()
    assert head.endswith("| top-1 with the teacher |")
    assert line.endswith("| 60.0% ± 14.1 | 60.0% ± 14.1 | n/a | 70.0% ± 14.1 (2) |")
    assert "teacher" not in accuracy.as_table(rows[:1])
    told = SimpleNamespace(teacher="timm:resnet10t --distillation.weights r.pth")
    assert accuracy.with_and_without(told)[accuracy.TAUGHT][:2] == ["--teacher", "timm:resnet10t"]


def test_tasks_are_trained_from_scratch_from_a_start_and_by_peers(
    script, write_scenes, tiny_classifier, tmp_path, monkeypatch, capsys
):
    pretraining, trained = script("pretraining"), []
    write_scenes(tmp_path / "data" / "camvid", {"train": 4, "val": 2, "test": 2})
    save_model(tmp_path / "start", tiny_classifier(), metrics={}, version="0")

    def finish(runs, **_):
        for run in runs:
            told = ["train", *run.arguments, "--out", str(run.out), "--seed", str(run.seed)]
            assert main(told) == 0
            trained.append(run)
        return []

    monkeypatch.setattr(pretraining, "finish", finish)
    small = "--epochs 1 --epoch-steps 1 --batch-size 2 --image-size 32 --workers 0 --device cpu"
    small += " --segmentation.decoder-channels 8 --segmentation.auxiliary-channels 4"
    told = [tmp_path / "data", tmp_path / "out", "--tasks", "camvid", "--device", "cpu"]
    told += ["--models", "nommer_micro", "--start", f"nommer_micro={tmp_path / 'start'}"]
    told += ["--workers", "0", "--", *small.split()]
    monkeypatch.setattr(sys, "argv", ["pretraining.py", *map(str, told)])
    pretraining.main()
    scratch, start = trained
    shared = len(scratch.arguments) - len(small.split())
    assert start.arguments[:shared] == scratch.arguments[:shared]
    table = capsys.readouterr().out.splitlines()
    assert "| network | CamVid, mIoU |" in table
    assert any(line.startswith("| nommer_micro from start | ") for line in table)
    with pytest.raises(SystemExit, match="expected MODEL=RUN"):
        pretraining.starts_of(SimpleNamespace(start=["nommer_micro"]))


def test_nothing_is_trained_with_no_jobs(script, tmp_path):
    runs = script("runs")
    left = runs.Run("left", 0, tmp_path / "runs", ("--data", "x"))
    assert runs.finish([left], jobs=0) == [left]
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("unchecked")
def test_hours_of_the_published_recipes_follow_from_one_speed(script, monkeypatch, capsys):
    hours = script("recipe_hours")
    monkeypatch.setattr(hours, "SIZES", ("nommer_tiny",))
    monkeypatch.setattr(sys, "argv", ["recipe_hours.py", "--images-per-second", "1894"])
    hours.main()
    said = capsys.readouterr().out
    assert "| `imagenet1k` | 409.97 M | 5.5, 60 h |" in said
    published = {
        name.split("_nommer")[0]
        for name in recipe_names()
        if name.startswith(("imagenet1k", "ade20k", "coco"))
    }
    assert published == set(hours.IMAGES)
