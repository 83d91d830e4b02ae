"""Options that help a training along.

Averaged weights, early stopping, frozen layers, classes of different size.
"""

import json
from importlib.util import find_spec

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional as F

import nommer
from nommer.cli import main
from nommer.data.classification import ClassificationBatch
from nommer.data.formats.classification import read_classification
from nommer.settings.optim import Optim
from nommer.tasks.classification.loss import ClassificationModule, balanced_weights
from nommer.training import batch_size
from nommer.training.ema import AveragedWeights
from nommer.training.time_limit import TimeLimit
from tests.run_contents import checkpoint, interrupted, rows, same

pytestmark = pytest.mark.usefixtures("sketched")

DECAY = 0.8
STOPPED = 130


def network(state):
    """The weights of the network in the `state_dict` of a checkpoint."""
    return {
        name.removeprefix("model.network."): value
        for name, value in state.items()
        if "network" in name
    }


@pytest.fixture(scope="module")
def options(coloured, trained, train_options):
    """All aids at once, with everything random switched on."""
    given = [
        f"--ema={DECAY}",
        "--freeze=2",
        f"--pretrained={trained}",
        "--network.drop-path-rate=0.3",
    ]
    classes = ["--classification.sampling=balanced", "--classification.class-weights=balanced"]
    return [
        "train",
        f"--data={coloured}",
        *train_options,
        *given,
        *classes,
        "--augment.random-erasing=0.5",
        "--epochs=3",
    ]


@pytest.fixture(scope="module")
def aided(tmp_path_factory, options):
    """A run with all of them, and the weights after each of its steps."""
    out, weights, update = (
        tmp_path_factory.mktemp("aided") / "run",
        [],
        AveragedWeights.on_train_batch_end,
    )

    def note(self, trainer, pl_module, *batch):
        weights.append(
            {name: value.double() for name, value in pl_module.model.network.state_dict().items()}
        )
        update(self, trainer, pl_module, *batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AveragedWeights, "on_train_batch_end", note)
        assert main([*options, f"--out={out}"]) == 0
    return out, weights


def test_the_average_is_the_literal_one_and_warms_up(aided):
    out, weights = aided
    average = weights[0]
    for step, now in enumerate(weights[1:], start=2):
        decay = min(DECAY, 1 - step ** (-2 / 3))
        average = {name: decay * average[name] + (1 - decay) * now[name] for name in average}
    found = network(checkpoint(out)["state_dict"])
    for name, value in average.items():
        torch.testing.assert_close(
            found[name].double(), value, rtol=1e-5, atol=1e-6, check_dtype=False
        )
    assert not same(found, network(checkpoint(out)["current_model_state"]))
    assert all(
        torch.equal(value, weights[-1][name].to(value.dtype))
        for name, value in network(checkpoint(out)["current_model_state"]).items()
    )


def test_what_is_evaluated_and_delivered_is_the_average(aided, run, tmp_path):
    out, _ = aided
    best = checkpoint(out, "best")
    assert same(network(best["state_dict"]), nommer.load(out).network.state_dict())
    row = rows(out / "metrics.csv")[best["epoch"]]
    run("evaluate", out, "--workers 0 --device cpu --out", tmp_path / "evaluated")
    evaluated = json.loads((tmp_path / "evaluated" / "result.json").read_text())
    assert evaluated["loss"] == pytest.approx(float(row["val_loss"]), abs=0)
    assert evaluated["top1"] == float(row["val_top1"])


def test_frozen_layers_stay_as_they_were_and_the_others_learn(aided, trained):
    out, _ = aided
    before, after = (
        nommer.load(trained).network.state_dict(),
        network(checkpoint(out)["current_model_state"]),
    )
    frozen = {name for name in before if name.startswith(("stem.", "stages.0.", "stages.1."))}
    assert any("running_mean" in name for name in frozen)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not changed & frozen, "batch norms' statistics neither"
    assert {name for name, _ in nommer.load(trained).network.named_parameters()} - frozen <= changed


def test_a_run_with_all_of_them_goes_on_bit_for_bit_within_an_epoch(aided, options, tmp_path, run):
    whole, _ = aided
    out = tmp_path / "run"
    with interrupted(step=4):
        assert main([*options, f"--out={out}"]) == STOPPED
    run(*options, "--resume --out", out)
    assert rows(out / "metrics.csv") == rows(whole / "metrics.csv")
    for name in ("last", "best"):
        one, other = checkpoint(whole, name), checkpoint(out, name)
        assert same(one["state_dict"], other["state_dict"])
        assert same(one["current_model_state"], other["current_model_state"])
    assert same(nommer.load(whole).state_dict(), nommer.load(out).state_dict())


def test_a_linear_probe_learns_the_classifier_alone(
    run, coloured, trained, train_options, tmp_path
):
    out = tmp_path / "run"
    train = (
        "train --data",
        coloured,
        *train_options,
        "--epochs 1 --freeze backbone --out",
        out,
    )
    printed = run(*train, "--pretrained", trained)
    assert "frozen: 253,464 of 253,851 parameters" in printed.err
    before, after = (
        nommer.load(trained).network.state_dict(),
        network(checkpoint(out)["state_dict"]),
    )
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "head.weight",
        "head.bias",
    }


def test_frozen_stages_of_a_segmenter_are_the_backbones(
    run, scenes, segment_options, segmented, tmp_path
):
    out = tmp_path / "run"
    options = (*segment_options, "--epochs 1 --ema 0.5 --freeze backbone")
    run("train --data", scenes, *options, "--pretrained", segmented, "--out", out)
    before, after = (
        nommer.load(segmented).network.state_dict(),
        network(checkpoint(out)["current_model_state"]),
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any(name.startswith("backbone.") for name in changed)
    assert same(
        network(checkpoint(out, "best")["state_dict"]), nommer.load(out).network.state_dict()
    )


def test_a_run_stops_early_and_stays_stopped(run, coloured, train_options, tmp_path):
    out = tmp_path / "run"
    train = (
        "train --data",
        coloured,
        *train_options,
        "--lr 1e-9 --epochs 9 --patience 2 --out",
        out,
    )
    printed = run(*train)
    assert "stopped early: 2 epochs after the best model so far" in printed.err
    assert [row["epoch"] for row in rows(out / "metrics.csv")] == ["1", "2", "3"]
    assert "best epoch 1" in printed.err
    printed = run(*train, "--resume")
    assert "stopped early, 2 epochs after the best model so far: nothing to train" in printed.err
    assert len(rows(out / "metrics.csv")) == 3


def test_rare_classes_count_as_much_as_others(write_classes, tiny_classifier, tmp_path):

    write_classes(tmp_path / "train", {"blue": 6, "green": 2, "red": 1})
    write_classes(tmp_path / "val", {"blue": 1, "green": 1, "red": 1})
    weights = balanced_weights(read_classification(tmp_path, None), 3)
    assert weights.tolist() == pytest.approx([9 / 18, 9 / 6, 9 / 3])

    task = ClassificationModule(tiny_classifier(), optim=Optim(), lr=1.0, class_weights=weights)

    batch = ClassificationBatch(torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2]), torch.arange(3))
    each = F.cross_entropy(task.model(batch.images), batch.labels, reduction="none")
    expected = (each * weights).sum() / weights.sum()
    torch.testing.assert_close(task.training_step(batch, 0), expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--ema 1", "--ema must be above 0 and below 1, got 1.0"),
        ("--patience 0", "--patience must be 1 or more, got 0"),
        (
            "--min-delta 0.1",
            "--min-delta: does nothing without --patience; give both or none",
        ),
        ("--freeze 5", "--freeze must be from 0 to 4, or backbone, got 5"),
        (
            "--freeze 2",
            "--freeze: without --pretrained the frozen layers would stay random; give both",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(refused, coloured, train_options, tmp_path, given, message):
    assert message in refused(
        "train --data", coloured, *train_options, given, "--out", tmp_path / "run"
    )


def test_classes_of_different_size_are_for_classification(
    refused, scenes, segment_options, tmp_path
):
    train = ("train --data", scenes, *segment_options, "--out", tmp_path / "run")
    message = refused(*train, "--classification.sampling balanced")
    assert message == "--classification.sampling: does nothing for segmentation; leave it out"


class TestTimeLimit:
    def test_a_run_whose_time_is_up_is_evaluated_and_goes_on_exactly(
        self, run, aided, options, tmp_path
    ):
        """The clock jumps in the middle of the second epoch."""
        whole, _ = aided
        out, look = tmp_path / "run", TimeLimit._look

        def jump(self, trainer):
            if trainer.global_step == 4:
                self.deadline = 0.0
            look(self, trainer)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TimeLimit, "_look", jump)
            printed = run(*options, "--time-limit 8h --out", out)
        assert (
            f"stopped by --time-limit 8h; {out / 'checkpoints/last.ckpt'} is from epoch 2, after "
            "its step 1" in printed.err
        )
        assert "best epoch 1" in printed.err
        assert json.loads((out / "result.json").read_text())["epoch"] == 1
        assert nommer.load(out).class_names
        run(*options, "--resume --out", out)
        assert rows(out / "metrics.csv") == rows(whole / "metrics.csv")
        assert same(nommer.load(whole).state_dict(), nommer.load(out).state_dict())

    def test_without_an_epoch_the_weights_as_they_are_are_evaluated(
        self, run, coloured, train_options, tmp_path
    ):
        out = tmp_path / "run"
        printed = run("train --data", coloured, *train_options, "--time-limit 0.01s --out", out)
        assert "last.ckpt is from epoch 1, after its step 1" in printed.err
        last = network(checkpoint(out)["state_dict"])
        assert same(last, nommer.load(out).network.state_dict())
        assert json.loads((out / "result.json").read_text())["epoch"] == 0


class TestBatchSize:
    def test_the_largest_that_fits_is_chosen_and_said_and_stays(
        self, run, coloured, train_options, tmp_path
    ):
        out = tmp_path / "run"
        train = (
            "train --data",
            coloured,
            *train_options,
            "--batch-size auto --epochs 1 --out",
            out,
        )
        printed = run(*train)
        assert (
            "batch size 18: a tenth of the training images, or the usual number; a step takes about"
            in printed.err
        )
        assert yaml.safe_load((out / "config.yaml").read_text())["batch_size"] == 18
        assert "all 1 epochs are done" in run(*train, "--resume").err

    def test_memory_is_the_limit(self, run, coloured, train_options, tmp_path, monkeypatch):
        monkeypatch.setattr(batch_size, "free_memory", lambda: 2 * 40.0 * 2**20)
        monkeypatch.setattr(batch_size, "CLEAR_GROWTH", 8 * 2**20)
        printed = run(
            *(
                "train --data",
                coloured,
                *train_options,
                "--batch-size auto --epochs 1 --image-size 96",
            ),
            *("--augment.mixup 0.5 --out", tmp_path / "run"),
        )
        chosen = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["batch_size"]
        assert f"batch size {chosen}: the largest that fits" in printed.err
        assert 2 <= chosen < 18
        assert chosen % 2 == 0

    def test_several_processes_are_told_to_give_a_number(
        self, refused, coloured, train_options, tmp_path
    ):
        train = (
            "train --data",
            coloured,
            *train_options,
            "--batch-size auto --devices 2 --out",
            tmp_path / "run",
        )
        assert refused(*train).startswith(
            "--batch-size auto: is for a single process; give several the number"
        )


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_refused(
    refused, coloured, train_options, tmp_path, name
):
    if find_spec(name) is not None:
        pytest.skip(f"{name} is installed here")
    message = refused(
        "train --data", coloured, *train_options, f"--loggers [{name}] --out", tmp_path / "run"
    )
    assert (
        message
        == f"--loggers {name}: is not installed; install it (pip install {name}) or leave it out"
    )
    assert not (tmp_path / "run").exists()


def test_tensorboard_and_csv_hold_the_same_numbers(aided):
    out, _ = aided
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    for name in ("train_loss", "val_top1", "val_loss"):
        assert [event.value for event in events.Scalars(name)] == pytest.approx(
            [float(row[name]) for row in rows(out / "metrics.csv")], rel=1e-6
        )
