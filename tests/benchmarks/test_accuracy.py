"""The comparison of accuracy.

Every network of every suite can be trained by the recipe, and what is left of runs.
"""

import json
import shlex
import sys
from pathlib import Path

import pytest
import torch

from nommer.cli.parser import parse
from nommer.data.formats.folders import ClassFolders
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
