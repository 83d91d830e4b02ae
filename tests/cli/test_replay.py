"""A step whose loss or gradient is NaN is not taken; it can be done again, layer by layer."""

import csv
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from nommer.cli import main
from nommer.training.nan_guard import NaNGuard

pytestmark = pytest.mark.usefixtures("sketched")

MISTAKE = 2
BURST = ["--lr=1e30", "--optim.clip-grad=0", "--accumulate=2", "--epochs=3"]


@pytest.fixture(scope="module")
def burst(tmp_path_factory, coloured, train_options):
    """A run whose weights burst in its first step, so that the second cannot be taken."""
    out = tmp_path_factory.mktemp("burst") / "run"
    random = ["--augment.random-erasing=0.5", "--augment.mixup=0.5", "--network.drop-path-rate=0.3"]
    options = [*train_options, "--batch-size=4", *random, *BURST]
    assert main(["train", f"--data={coloured}", f"--out={out}", *options]) == MISTAKE
    return out


def step_of(run):
    return json.loads((run / "nonfinite" / "step.json").read_text())


def test_the_step_is_named_with_its_samples_and_the_weights_are_as_before_it(burst, coloured):
    step = step_of(burst)
    assert (step["epoch"], step["step"], step["rank"]) == (1, 2, 0)
    assert [batch["batch"] for batch in step["batches"]] == [2, 3], "two batches make a step"
    assert "nan" in [batch["loss"] for batch in step["batches"]]
    files = [sample["file"] for batch in step["batches"] for sample in batch["samples"]]
    assert len(set(files)) == 8
    assert all(file.startswith(str(coloured / "train")) for file in files)
    weights = load_file(burst / "nonfinite" / "weights.safetensors")
    assert all(value.isfinite().all() for name, value in weights.items() if "running" not in name)


def test_replay_shows_in_which_layer_it_begins(run, burst):
    printed = run("replay", burst, "--device cpu")
    assert "8 samples" in printed.out
    with (burst / "nonfinite" / "layers.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    first = next(row for row in rows if int(row["not_finite"]))
    assert (
        f"first value that is no finite number: forward {first['layer']} ({first['kind']})"
        in printed.out
    )
    assert first["layer"].startswith("network.stages.0.")
    before = rows[: rows.index(first)]
    assert {row["where"] for row in before} == {"weights", "input", "forward"}
    assert {row["where"] for row in rows} == {
        "weights",
        "input",
        "forward",
        "loss",
        "backward",
        "gradient",
    }


@pytest.mark.parametrize(
    "aids", ["", "--network.balance 1 --network.decided 1 --network.choose-from 0.5 --epochs 4"]
)
def test_the_losses_of_the_replay_are_those_of_the_run(run, burst, tmp_path, monkeypatch, aids):
    """The same images with the same random changes and the same noise.

    Of a step that is finite, to the last bit.
    """
    finite = []
    check = NaNGuard.check

    def refuse(self, trainer, norm):
        finite.append([float(loss) for loss in self.losses])
        self.losses[-1] = self.losses[-1] * torch.nan
        check(self, trainer, norm)

    monkeypatch.setattr(NaNGuard, "check", refuse)
    out = tmp_path / "run"
    run(
        "train --config",
        burst / "config.yaml",
        "--overwrite --lr 0.01",
        aids,
        "--out",
        out,
        code=MISTAKE,
    )
    run("replay", out, "--device cpu")
    with (out / "nonfinite" / "layers.csv").open(newline="") as stream:
        losses = [row for row in csv.DictReader(stream) if row["where"] == "loss"]
    assert [float(row["largest"]) / 2 for row in losses] == pytest.approx(finite[0], rel=1e-7)
    assert "all values are finite this time" in run("replay", out, "--device cpu").out


def test_the_last_good_checkpoint_stays(run, refused, trained, tmp_path, monkeypatch):
    """A weight that bursts in the second epoch of a run that goes on."""
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    before = (out / "checkpoints" / "last.ckpt").read_bytes()
    look = NaNGuard.on_before_backward

    def burst(self, trainer, pl_module, loss):
        look(self, trainer, pl_module, loss * torch.inf)

    monkeypatch.setattr(NaNGuard, "on_before_backward", burst)
    message = refused("train --config", out / "config.yaml", "--resume --epochs 3 --out", out)
    assert "the training loss became inf in epoch 3, step 7, which was not taken" in message
    assert f"{out / 'checkpoints/last.ckpt'} is the last good checkpoint" in message
    assert (out / "checkpoints" / "last.ckpt").read_bytes() == before


def test_a_segmenters_step_too(run, refused, scenes, segment_options, tmp_path, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.chdir(scenes.parent)  # where the data are called by a part of their path
    refused(
        "train --data",
        scenes.name,
        *segment_options,
        "--lr 1e30 --optim.clip-grad 0 --epochs 4 --out",
        out,
    )
    assert (
        "first value that is no finite number: forward network."
        in run("replay", out, "--device cpu").out
    )


def test_there_must_be_something_to_replay(refused, trained):
    message = refused("replay", trained)
    assert (
        message == f"{trained}: nothing to replay, {trained / 'nonfinite'} does not exist: "
        "no step was refused"
    )


def test_other_data_are_refused(refused, burst, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(burst, out)
    step = step_of(out)
    step["batches"][0]["samples"][0]["file"] = "gone.png"
    (out / "nonfinite" / "step.json").write_text(json.dumps(step))
    index = step["batches"][0]["samples"][0]["index"]
    message = refused("replay", out, "--device cpu")
    assert message.startswith(
        f"cannot replay, the data has changed: training image {index} was gone.png, now "
    )
