"""A run whose nominations have a loss of their own."""

import json
from itertools import count

import pytest

from nommer import InputError
from nommer.cli import main
from nommer.runs.folder import RunFolder
from nommer.settings.network import NetworkOptions
from nommer.settings.train import TrainSettings
from tests.run_contents import checkpoint, interrupted, rows, same


def test_balance_does_not_go_with_compile(tmp_path):
    with pytest.raises(InputError, match=r"--compile: does not go with --network.balance"):
        TrainSettings(tmp_path, compile=True, network=NetworkOptions(balance=0.1))


def test_balance_at_places_needs_a_balance():
    with pytest.raises(InputError, match=r"balance-places: .* give --network.balance too"):
        NetworkOptions(balance_places=True).check()


def test_contexts_are_chosen_anew_where_half_of_the_training_is_over(
    coloured, train_options, tmp_path, capsys, monkeypatch
):
    drawn = []
    monkeypatch.setattr(
        "nommer.training.choosing.draw_nominators", lambda *given: drawn.append(given)
    )
    out = tmp_path / "run"
    told = ["train", "--data", str(coloured), "--out", str(out), *train_options, "--epochs=4"]
    aids = ["--network.balance=1", "--network.decided=2", "--network.choose-from=0.5", "--ema=0.9"]
    assert main(told + aids) == 0
    assert [size for _, size in drawn] == [32]
    assert "epoch 3: from here contexts are chosen anew" in capsys.readouterr().err
    losses = [float(row["train_loss"]) for row in rows(out / "metrics.csv")]
    assert min(losses[2:]) > max(losses[:2]) + 0.5


def test_the_best_epoch_is_one_of_after_the_choice(coloured, train_options, tmp_path, monkeypatch):
    for place in ("nommer.training.records", "nommer.runs.checkpoint"):
        worse = ((-epoch, 0) for epoch in count())
        monkeypatch.setattr(f"{place}.rank_of_epoch", lambda *_, worse=worse: next(worse))
    out = tmp_path / "run"
    told = ["train", "--data", str(coloured), "--out", str(out), *train_options, "--epochs=4"]
    assert main([*told, "--network.balance=1", "--network.choose-from=0.5"]) == 0
    assert json.loads((out / "result.json").read_text())["epoch"] == 3


def test_patience_begins_with_the_choice(coloured, train_options, tmp_path):
    out = tmp_path / "run"
    told = ["train", "--data", str(coloured), "--out", str(out), *train_options, "--epochs=6"]
    told += ["--patience=1", "--min-delta=0.999"]  # nothing is better by so much
    assert main([*told, "--network.balance=1", "--network.choose-from=0.5"]) == 0
    assert len(rows(out / "metrics.csv")) == 5


def test_a_late_choice_goes_on_bit_for_bit_within_its_first_epoch(
    coloured, train_options, tmp_path
):
    aids = ["--network.balance=1", "--network.choose-from=0.4", "--ema=0.9", "--epochs=3"]
    told = ["train", "--data", str(coloured), *train_options, *aids]
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert main([*told, f"--out={whole}"]) == 0
    with interrupted(step=4):
        assert main([*told, f"--out={out}"]) == 130
    assert main([*told, "--resume", f"--out={out}"]) == 0
    assert rows(out / "metrics.csv") == rows(whole / "metrics.csv")
    one, other = checkpoint(whole, "last"), checkpoint(out, "last")
    assert same(one["current_model_state"], other["current_model_state"])


def test_the_choice_begins_within_the_training():
    with pytest.raises(InputError, match="choose-from must be from 0 to below 1, got 1"):
        NetworkOptions(choose_from=1).check()
    with pytest.raises(InputError, match=r"choose-from: .* give --network.balance too"):
        NetworkOptions(choose_from=0.5).check()


def test_a_run_with_balanced_nominations_tells_their_loss(
    coloured, trained, train_options, tmp_path
):
    aids = ["--network.balance=3", "--network.decided=1", "--network.equal-contexts=true"]
    aids.append("--network.balance-places=true")
    out = tmp_path / "run"
    told = ["train", "--data", str(coloured), "--out", str(out), *train_options, "--epochs=1"]
    assert main(told + aids) == 0
    assert RunFolder(out).settings().network.balance == 3
    with_it, without = (float(rows(run / "metrics.csv")[0]["train_loss"]) for run in (out, trained))
    assert with_it > without + 0.5
