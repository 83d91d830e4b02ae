"""A run that dies at any step goes on in a fresh process as if nothing had happened, whatever is learned."""

import csv
import random

import pytest
import torch

import nommer

KILLED = -9

RANDOM = ["--network.drop-path-rate=0.3", "--epochs=3", "--checkpoint-minutes=0"]
"""Something random in every step, so that it matters where the run goes on."""


def rows(path):
    with path.open(newline="") as stream:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]


def checkpoint(run, name):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def same(one, other):
    """Whether two nested structures of tensors and plain values are equal."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def check_same_run(one, other):
    """Every number, picture and weight that two runs leave."""
    for name in ("metrics.csv", "nominations.csv"):
        assert rows(one / name) == rows(other / name)
    for name in ("curves.png", "nominations.png", "result.json", "predictions.csv"):
        if (one / name).is_file():
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for name in ("last", "best"):
        left, right = checkpoint(one, name), checkpoint(other, name)
        for part in ("epoch", "global_step", "state_dict", "optimizer_states", "losses"):
            assert same(left[part], right[part]), (name, part)
    assert same(nommer.load(one).state_dict(), nommer.load(other).state_dict())


@pytest.fixture(scope="module")
def tasks(coloured, scenes, train_options, segment_options):
    """The options of a small run of every task, and how many steps it has."""
    mixing = ["--augment.random-erasing=0.5", "--augment.mixup=0.5"]
    return {
        "classification": ([f"--data={coloured}", *train_options, *mixing, *RANDOM], 9),
        "segmentation": ([f"--data={scenes}", *segment_options, *RANDOM], 6),
    }


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_run_killed_at_a_random_step_goes_on_bit_for_bit(process, tasks, task, tmp_path):
    options, steps = tasks[task]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert process("train", *options, f"--out={whole}").code == 0
    step = random.randrange(2, steps + 1)
    assert process("train", *options, f"--out={killed}", fault=["step", step]).code == KILLED, step
    done = process("train", *options, f"--out={killed}", "--resume")
    assert done.code == 0, done.err
    check_same_run(whole, killed)
