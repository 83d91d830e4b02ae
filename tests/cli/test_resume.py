"""A run that was interrupted goes on exactly, or says why it cannot.

A run folder is never lost by mistake.
"""

import errno
import json
import os
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml

import nommer
from nommer.cli import main
from nommer.training.records import History
from tests.run_contents import checkpoint, rows, same

pytestmark = pytest.mark.usefixtures("sketched")

STOPPED = 130


def resume_options(run):
    """Command that a run which stops tells to go on with."""
    return ["train", "--config", run / "config.yaml", "--out", run, "--resume"]


@pytest.fixture(scope="module")
def options(train_options):
    """Everything random switched on, so that it matters where the run went on."""
    random = ["--augment.random-erasing=0.5", "--augment.mixup=0.5", "--network.drop-path-rate=0.3"]
    return [*train_options, *random, "--epochs=4"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, coloured, options):
    """A run of four epochs in one go."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main(["train", "--data", str(coloured), "--out", str(out), *options]) == 0
    return out


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, coloured, options):
    """The same run, stopped from the keyboard when the third epoch begins."""

    def press_ctrl_c(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            signal.raise_signal(signal.SIGINT)
        self.started = time.perf_counter()

    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "on_train_epoch_start", press_ctrl_c)
        assert main(["train", "--data", str(coloured), "--out", str(out), *options]) == STOPPED
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "Ctrl-C works again"
    return out


@pytest.fixture
def interrupted(stopped, tmp_path):
    """A copy of it, to go on with."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def test_a_stopped_run_has_its_last_epoch_its_curves_and_a_model_to_use(stopped):
    assert len(rows(stopped / "metrics.csv")) == 2
    assert checkpoint(stopped)["epoch"] == 1
    assert (stopped / "curves.png").is_file()
    weights = checkpoint(stopped, "best")["state_dict"]
    model = nommer.load(stopped)
    assert all(
        torch.equal(value, weights[f"model.network.{name}"])
        for name, value in model.network.state_dict().items()
    )


def test_more_epochs_follow_the_longer_schedule(run, whole, interrupted, coloured, options):
    run("train --resume --data", coloured, "--out", interrupted, *options, "--epochs 8")
    rates = [float(row["lr"]) for row in rows(interrupted / "metrics.csv")]
    assert len(rates) == 8
    assert rates[:2] == [float(row["lr"]) for row in rows(whole / "metrics.csv")][:2]
    assert rates[2] > float(rows(whole / "metrics.csv")[2]["lr"])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.1 * rates[2]


def test_an_interrupted_run_goes_on_bit_for_bit(run, whole, interrupted, coloured, options):
    printed = run("train --resume --data", coloured, "--out", interrupted, *options)
    assert "going on from the end of epoch 2 (of 4 epochs)" in printed.err
    assert rows(interrupted / "metrics.csv") == rows(whole / "metrics.csv")
    assert rows(interrupted / "nominations.csv") == rows(whole / "nominations.csv")
    for name in ("last", "best"):
        one, other = checkpoint(whole, name), checkpoint(interrupted, name)
        for part in ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers"):
            assert same(one[part], other[part]), (name, part)
    assert same(nommer.load(whole).state_dict(), nommer.load(interrupted).state_dict())
    results = [json.loads((folder / "result.json").read_text()) for folder in (whole, interrupted)]
    assert results[0] == results[1]


def test_the_best_value_survives_although_the_run_was_moved(run, stopped, interrupted, digest):
    last, untouched = checkpoint(interrupted), digest(stopped)
    before = next(state for name, state in last["callbacks"].items() if "val_top1" in name)
    assert before["dirpath"] == str(stopped / "checkpoints")
    run("train --resume --config", interrupted / "config.yaml", "--out", interrupted)
    after = next(
        state for name, state in checkpoint(interrupted)["callbacks"].items() if "val_top1" in name
    )
    assert after["dirpath"] == str(interrupted / "checkpoints")
    assert list(after["best_k_models"]) == [str(interrupted / "checkpoints" / "best.ckpt")]
    assert after["best_model_score"] >= before["best_model_score"]
    assert digest(stopped) == untouched, "nothing is written where the run was"


def test_the_best_epoch_so_far_is_not_forgotten(refused, interrupted):
    """Although a run could go on without: the next best would be taken for it."""
    (interrupted / "checkpoints" / "best.ckpt").unlink()
    said = refused("train --resume --config", interrupted / "config.yaml", "--out", interrupted)
    assert "best.ckpt: is gone, and with it the best epoch so far; put back a copy" in said
    assert f"with --pretrained {interrupted}" in said


def test_a_damaged_checkpoint_is_not_gone_on_from(refused, interrupted):
    path = interrupted / "checkpoints" / "last.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    said = refused("train --resume --config", interrupted / "config.yaml", "--out", interrupted)
    assert "last.ckpt: is damaged" in said
    assert path.read_bytes() == content


def test_a_run_from_before_there_was_an_option_goes_on(run, whole, interrupted):
    """Its config does not hold the option, so it is at its default."""
    config = yaml.safe_load((interrupted / "config.yaml").read_text())
    assert config["network"].pop("fusion") == "nomination"
    assert config["network"].pop("kept_coefficients") is None
    del config["detection"]["protocol"]
    (interrupted / "config.yaml").write_text(yaml.safe_dump(config))
    run("train --resume --config", interrupted / "config.yaml", "--out", interrupted)
    assert rows(interrupted / "metrics.csv") == rows(whole / "metrics.csv")


def test_other_settings_are_refused_with_the_difference(
    refused, interrupted, coloured, options, digest
):
    before = digest(interrupted)
    resume = ("train --resume --data", coloured, "--out", interrupted, *options)
    message = refused(*resume, "--lr 0.5 --optim.weight-decay 0.1")
    assert message.startswith(
        f"{interrupted}: cannot resume with other settings (lr: the run has 0.001, now 0.5; "
        "optim.weight_decay: "
        "the run has 0.05, now 0.1); resume with"
    )
    again = f"resume with --config {interrupted / 'config.yaml'} --out {interrupted} --resume"
    assert message.endswith(f"{again}, or start a new run")
    assert "(epochs: the run has 4, now 3)" in refused(*resume, "--epochs 3")
    assert "(devices: the run has 1, now 2)" in refused(*resume, "--devices 2")
    assert (
        refused(*resume, "--overwrite") == "--resume and --overwrite exclude each other: choose one"
    )
    assert digest(interrupted) == before


def test_other_data_are_refused_with_the_difference(
    refused, interrupted, coloured, options, tmp_path, noisy
):
    changed = tmp_path / "changed"
    shutil.copytree(coloured, changed)
    split = interrupted / "split.csv"
    told = split.read_text()
    split.write_text("".join(f"{row.rpartition(',')[0]}\n" for row in told.splitlines()))
    assert "cannot resume with other settings (data: the run has" in refused(
        "train --resume --data", changed, "--out", interrupted, *options
    ), "without the contents of its files, a copy may be other data"
    split.write_text(told)
    config = (interrupted / "config.yaml").read_text()
    (interrupted / "config.yaml").write_text(config.replace(str(coloured), str(changed)))
    noisy((1, 2, 3)).save(changed / "train" / "red" / "new.png")
    (changed / "train" / "blue" / "blue-0.png").unlink()
    message = refused("train --resume --data", changed, "--out", interrupted, *options)
    assert message == (
        f"{interrupted}: cannot resume, the data has changed: train/red/new.png is new; "
        "train/blue/blue-0.png is gone; start a new run"
    )
    (changed / "train" / "red" / "new.png").rename(changed / "train" / "blue" / "blue-0.png")
    message = refused("train --resume --data", changed, "--out", interrupted, *options)
    assert (
        "the data has changed: train/blue/blue-0.png is another file than it was, or labelled "
        "otherwise;" in message
    )


def test_a_finished_run_says_so_and_keeps_its_model(run, trained, tmp_path):
    finished = tmp_path / "run"
    shutil.copytree(trained, finished)
    before = nommer.load(finished).state_dict()
    printed = run("train --resume --config", finished / "config.yaml", "--out", finished)
    assert (
        "all 2 epochs are done: nothing to train; a larger --epochs goes on from here"
        in printed.err
    )
    assert same(nommer.load(finished).state_dict(), before)
    assert rows(finished / "metrics.csv") == rows(trained / "metrics.csv")
    run("train --resume --config", finished / "config.yaml", "--out", finished, "--epochs 3")
    assert [row["epoch"] for row in rows(finished / "metrics.csv")] == ["1", "2", "3"]


def test_there_must_be_something_to_resume(refused, coloured, options, tmp_path):
    message = refused("train --resume --data", coloured, "--out", tmp_path / "run", *options)
    assert message == (
        f"{tmp_path / 'run'}: nothing to resume, {tmp_path / 'run/checkpoints/last.ckpt'} does not "
        "exist; "
        "drop --resume to start"
    )
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_exists_is_refused_and_overwritten_only_when_told(
    run, refused, trained, tmp_path, coloured, options
):
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    (out / "mark").touch()
    train = ("train --data", coloured, "--out", out, *options, "--epochs 1")
    message = "exists and is not empty; choose another --out or use --overwrite, "
    message += "or --resume to go on with a run"
    assert refused(*train) == f"{out}: {message}"
    assert (out / "mark").exists()
    run(*train, "--overwrite")
    assert not (out / "mark").exists()
    assert len(rows(out / "metrics.csv")) == 1


@pytest.mark.parametrize(
    "content", ["config.yaml", "result.json", "thesis.tex", "environment.json"]
)
def test_overwrite_deletes_no_folder_of_the_user(refused, coloured, options, tmp_path, content):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / content).write_text("{}")
    message = refused("train --overwrite --data", coloured, "--out", tmp_path / "mine", *options)
    assert "--overwrite deletes only folders that nommer made" in message
    assert (tmp_path / "mine" / content).exists()


def test_overwrite_does_not_delete_the_data(refused, trained, coloured, options, tmp_path, digest):
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    shutil.copytree(coloured, out / "data")
    before = digest(out)
    message = refused("train --overwrite --data", out / "data", "--out", out, *options)
    assert (
        message
        == f"{out / 'data'}: lies in {out}, which --overwrite would delete; choose another --out"
    )
    message = refused("evaluate", trained, "--overwrite --data", out / "data", "--out", out)
    assert (
        message
        == f"{out / 'data'}: lies in {out}, which --overwrite would delete; choose another --out"
    )
    assert digest(out) == before


@pytest.mark.parametrize("verb", ["check", "evaluate", "predict", "explain", "export"])
def test_no_other_verb_overwrites_a_run(refused, trained, coloured, tmp_path, digest, verb):
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    before = digest(out)
    images = (coloured / "val" / "red",) if verb in ("predict", "explain") else ()
    for model in (trained, out):
        message = refused(
            verb, coloured if verb == "check" else model, *images, "--out", out, "--overwrite"
        )
        assert message.startswith(f"{out}: ")
        assert "holds a training run" in message or "which --overwrite would delete" in message
    assert digest(out) == before


def test_a_run_folder_that_cannot_be_made_is_refused(refused, coloured, options, tmp_path):
    (tmp_path / "file").touch()
    train = ("train --data", coloured, *options, "--out")
    assert (
        refused(*train, tmp_path / "file")
        == f"{tmp_path / 'file'}: is a file; choose another --out"
    )
    assert "cannot be made: Not a directory; choose another --out" in refused(
        *train, tmp_path / "file" / "run"
    )


def test_a_full_disk_costs_no_checkpoint(run, refused, interrupted):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resume = resume_options(interrupted)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))  # a checkpoint is larger
    try:
        message = refused(*resume)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    last = interrupted / "checkpoints" / "last.ckpt"
    better = interrupted / "model" / "model.safetensors"  # the epoch is better by its loss
    assert message == (
        f"{better}: cannot be written: {os.strerror(errno.EFBIG)}; {last} is whole, from the end "
        "of epoch 2; make room, "
        "or see to the permissions, and go on with: nommer "
        f"{' '.join(map(str, resume_options(interrupted)))}"
    )
    assert checkpoint(interrupted)["epoch"] == 1
    assert {path.name for path in (interrupted / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
    }
    run(*resume)
    assert len(rows(interrupted / "metrics.csv")) == 4
