"""A run that dies at any step goes on in a fresh process as if nothing had happened, whatever is learned."""

import random

import pytest

KILLED = -9

RANDOM = ["--network.drop-path-rate=0.3", "--epochs=3", "--checkpoint-minutes=0"]
"""Something random in every step, so that it matters where the run goes on."""


@pytest.fixture(scope="module")
def tasks(coloured, scenes, train_options, segment_options):
    """The options of a small run of every task, and how many steps it has."""
    mixing = ["--augment.random-erasing=0.5", "--augment.mixup=0.5", "--aids.ema=0.9"]
    return {
        "classification": ([f"--data={coloured}", *train_options, *mixing, *RANDOM], 9),
        "segmentation": ([f"--data={scenes}", *segment_options, *RANDOM], 6),
    }


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_run_killed_at_a_random_step_goes_on_bit_for_bit(process, check_same_run, tasks, task, tmp_path):
    options, steps = tasks[task]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert process("train", *options, f"--out={whole}").code == 0
    step = random.randrange(2, steps + 1)
    assert process("train", *options, f"--out={killed}", fault=["step", step]).code == KILLED, step
    done = process("train", *options, f"--out={killed}", "--resume")
    assert done.code == 0, done.err
    check_same_run(whole, killed)
