"""A run takes from its surroundings only what is meant for it, and leaves them as they were."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from lightning_utilities.core.rank_zero import rank_zero_only

import nommer
from nommer.data.formats.labelled import LabelledImages
from nommer.errors import InputError
from nommer.progress import make_console
from tests.run_contents import rows

OPTIONS = {"model": "nommer_micro", "image_size": 32, "workers": 0, "device": "cpu"}


@pytest.fixture
def train(coloured, tmp_path):
    def train(**changes):
        given = {"out": tmp_path / "run", "epochs": 1, "batch_size": 6} | OPTIONS | changes
        return nommer.train(given.pop("data", coloured), **given)

    return train


# ---- ranks of others


def test_a_rank_that_is_not_its_own_does_not_keep_a_run_from_writing(
    train, tmp_path, monkeypatch, capsys
):
    train(lr=3e-3, seed=2)
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as read at import, from RANK or SLURM_PROCID
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "WORLD_SIZE", "SLURM_NTASKS"):
        monkeypatch.setenv(name, "2")
    result = train(lr=1e-4, seed=5, overwrite=True)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["lr"], config["seed"], result.rank) == (1e-4, 5, 0)
    assert (tmp_path / "run" / ".lock").is_file()
    assert "epoch 1/1" in capsys.readouterr().err
    with pytest.raises(InputError, match="cannot resume with other settings"):
        train(lr=1e-2, seed=5, resume=True, epochs=2)
    assert nommer.evaluate(tmp_path / "run", workers=0, device="cpu").report.images == 9
    assert rank_zero_only.rank == 1, "and it is left as it was"


# ---- nothing is left behind


def surroundings():
    return {
        "environment": dict(os.environ),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state().tolist(),
        "handlers": [signal.getsignal(number) for number in (2, 10, 15)],
        "hook": sys.excepthook,
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gradients": torch.is_grad_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
    }


@pytest.mark.parametrize("fails", [False, True])
def test_a_training_leaves_everything_as_it_was(train, fails):
    before = surroundings()
    if fails:
        with pytest.raises(InputError):
            train(pretrained="nowhere")
    else:
        train()
    after = surroundings()
    for name, value in before.items():
        assert after[name] == value, name


SWEEP = """
import sys
import nommer
import lightning.pytorch.trainer.connectors.accelerator_connector as connector
for number in (1, 2):
    connector._IS_INTERACTIVE = number == 2 and {notebook}  # the second as in a notebook
    small = dict(model="nommer_micro", epochs=1, batch_size=3, image_size=32, workers=0)
    out, lr = sys.argv[2] + str(number), number * 1e-3
    result = nommer.train(sys.argv[1], out=out, lr=lr, device="cpu", **small, {devices})
    print("done", result.rank, result.report.images, type(result.model).__name__, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["devices", "torchrun"])
@pytest.mark.long
def test_one_script_trains_twice_on_two_processes(coloured, tmp_path, launcher):
    script, begin = tmp_path / "sweep.py", [sys.executable]
    devices = "devices=2" if launcher == "devices" else ""
    script.write_text(SWEEP.format(devices=devices, notebook=launcher == "devices"))
    if launcher == "torchrun":
        begin += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*begin, script, coloured, tmp_path / "run"],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranks = ["0"] if launcher == "devices" else ["0", "1"]
    expected = sorted(f"done {rank} 9 Classifier" for rank in ranks for _ in (1, 2))
    assert sorted(done.stdout.split("\n")[:-1]) == expected
    for number in (1, 2):
        (row,) = rows(tmp_path / f"run{number}" / "metrics.csv")
        assert float(row["lr"]) < number * 1e-3 * 1.01


@pytest.mark.slow
def test_ctrl_c_ends_a_process_that_waits_for_others(coloured, train_options, tmp_path):
    told = tmp_path / "told.txt"
    variables = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0",
                 "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_ID": "12",
                 "SLURM_NODELIST": "localhost", "OMP_NUM_THREADS": "1"}  # fmt: skip
    listens = (
        "import signal, sys; signal.signal(2, signal.default_int_handler); "  # else under nohup
    )
    listens += "from nommer.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", listens, "train", "--data", coloured, "--devices", "2"]
    command += ["--out", tmp_path / "run", *train_options]
    with told.open("w") as stream:
        waiting = subprocess.Popen(command, stderr=stream, env=os.environ | variables)
    end = time.monotonic() + 120
    while "waiting for" not in told.read_text() and time.monotonic() < end:
        time.sleep(0.5)
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(20) == 130, told.read_text()
    assert "waiting for 1 of 2 processes that srun starts; Ctrl-C stops" in told.read_text()
    assert "Traceback" not in told.read_text()


# ---- terminals, folders, locales


def test_a_service_without_standard_error_trains(train, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert train().report.images == 9


def test_no_standard_input_is_no_images(trained, refused, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert "no images given" in refused("predict", trained, "-", "--device cpu")


@pytest.mark.parametrize(("columns", "width"), [("0", 80), ("3", 80), ("120", 120), ("", 80)])
def test_a_terminal_that_says_it_has_no_columns_gets_usual_lines(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    assert make_console().width == width


def test_a_folder_of_sockets_with_a_long_name_is_refused(train, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 120)))
    with pytest.raises(InputError, match="set a shorter TMPDIR, or --workers 0"):
        train(workers=1)
    assert not (tmp_path / "run").exists()
    assert train(workers=0).report.images == 9


@pytest.mark.parametrize(
    ("name", "message"),
    [("gr\udcc3\udcb6n", "set LC_ALL=C.UTF-8, or PYTHONUTF8=1"), ("gr\udcf6n", "is not UTF-8")],
)
def test_a_locale_that_cannot_read_names_is_not_the_fault_of_the_names(name, message, tmp_path):
    named = SimpleNamespace(class_names=(name,), root=tmp_path)
    with pytest.raises(InputError, match=message):
        LabelledImages.__post_init__(named)


# ---- settings that cannot be meant


def test_a_batch_of_one_that_teaches_nothing_is_refused_before_anything_is_written(train, tmp_path):
    with pytest.raises(InputError, match="--batch-size 1: at 32 pixels a batch norm"):
        train(batch_size=1, network=nommer.NetworkOptions(patch_size=4)
              if hasattr(nommer, "NetworkOptions") else patch_of_four())  # fmt: skip
    assert not (tmp_path / "run").exists()


def patch_of_four():
    from nommer.settings.network import NetworkOptions  # noqa: PLC0415 - where it is not public

    return NetworkOptions(patch_size=4)


def test_a_warm_up_longer_than_the_run_is_told(run, coloured, train_options, tmp_path):
    options = ("--out", tmp_path / "run", *train_options, "--epochs 1")
    printed = run("train --data", coloured, *options, "--optim.warmup-epochs 5")
    assert "the warm-up is as long as the run of 1 epochs or longer" in printed.err
    assert "--optim.warmup-epochs 5" in printed.err


# ---- data that have moved


def test_a_run_goes_on_where_the_same_files_are_elsewhere_now(
    train, write_classes, tmp_path, capsys
):
    data, moved = tmp_path / "data", tmp_path / "moved"
    for split, count in (("train", 6), ("val", 3)):
        write_classes(data / split, {"blue": count, "red": count})
    train(data=data)
    data.rename(moved)
    result = train(data=moved, epochs=2, resume=True)
    assert result.report.images == 6
    said = capsys.readouterr().err.replace("\n", " ")
    assert f"the same files as in {data}, by their contents, are in {moved}" in said
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["data"] == str(moved)
    other = write_classes(tmp_path / "other" / "train", {"blue": 6, "red": 6}, seed=9).parent
    write_classes(other / "val", {"blue": 3, "red": 3}, seed=77)
    with pytest.raises(InputError, match="cannot resume, the data has changed"):
        train(data=other, epochs=3, resume=True)
