"""A run whose nominations have a loss of their own."""

import pytest

from nommer import InputError
from nommer.cli import main
from nommer.runs.folder import RunFolder
from nommer.settings.network import NetworkOptions
from nommer.settings.train import TrainSettings
from tests.run_contents import rows


def test_balance_does_not_go_with_compile(tmp_path):
    with pytest.raises(InputError, match=r"--compile: does not go with --network.balance"):
        TrainSettings(tmp_path, compile=True, network=NetworkOptions(balance=0.1))


def test_balance_at_places_needs_a_balance():
    with pytest.raises(InputError, match=r"balance-places: .* give --network.balance too"):
        NetworkOptions(balance_places=True).check()


def test_nominators_are_fresh_where_the_others_have_learned(
    coloured, trained, train_options, tmp_path, capsys
):
    out = tmp_path / "run"
    told = ["train", "--data", str(coloured), "--out", str(out), *train_options, "--epochs=1"]
    fresh = "--network.fresh-nominators=true"
    assert main([*told, fresh]) == 2
    assert "without --pretrained all are fresh" in capsys.readouterr().err
    assert main([*told, fresh, "--pretrained", str(trained)]) == 0
    assert "the nominators are fresh, and the contexts scaled" in capsys.readouterr().err


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
