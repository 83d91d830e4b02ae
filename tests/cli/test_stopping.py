"""A run that is told to stop saves and says how to go on; a run folder has one writer."""

import shutil
import signal

import pytest

from nommer.runs.lock import locked

SPARE = ["--network.drop-path-rate=0.3", "--epochs=2"]
"""Two epochs of three steps, saved within an epoch only when a run is told to stop."""


@pytest.fixture(scope="module")
def options(coloured, train_options):
    return [f"--data={coloured}", *train_options, *SPARE]


@pytest.fixture(scope="module")
def whole(process, options, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert process("train", *options, f"--out={out}").code == 0
    return out


@pytest.mark.parametrize(
    ("asked", "step", "where"),
    [
        (signal.SIGINT, 1, "epoch 1, after its step 1"),
        (signal.SIGTERM, 3, "epoch 1, after its step 3"),  # the validation is left to do
        (signal.SIGUSR1, 5, "epoch 2, after its step 2"),
    ],
)
def test_a_signal_saves_stops_and_the_run_goes_on_bit_for_bit(
    process, check_same_run, options, whole, tmp_path, asked, step, where
):
    out = tmp_path / "run"
    stopped = process(
        "train", *options, f"--out={out}", "--workers=1", fault=["signal", asked, step]
    )
    assert stopped.code == 128 + asked, stopped.err
    printed = stopped.err.replace("\n", "")
    assert f"{asked.name}: saving after this step, then stopping" in printed
    assert printed.endswith(
        f"stopped by {asked.name}; {out}/checkpoints/last.ckpt is from {where}; "
        f"go on with: nommer train --config {out}/config.yaml --out {out} --resume"
    )
    assert "Traceback" not in printed
    done = process("train", *options, f"--out={out}", "--resume", "--workers=1")
    assert done.code == 0, done.err
    assert f"going on from {where} (of 2 epochs)" in done.err
    check_same_run(whole, out)


def test_a_second_run_in_the_same_folder_is_refused_and_changes_nothing(
    refused, whole, options, digest, tmp_path
):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    with locked(out):
        before = digest(out)
        for how in ("--resume", "--overwrite", ""):
            message = refused("train", *options, f"--out={out}", how)
            assert message.startswith(f"{out}: a run is writing there (process ")
            assert message.endswith("); wait, or choose another --out")
        assert digest(out) == before
