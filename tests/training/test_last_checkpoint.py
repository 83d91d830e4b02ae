"""The checkpoint to go on from: its content, and the answer to a damaged one."""

import os
import pickle

import pytest
import torch

from nommer.errors import InputError
from nommer.runs.changes import changed_files, changed_settings, describe_changes
from nommer.runs.checkpoint import open_checkpoint
from nommer.training.last_checkpoint import Progress, has_finite_weights


class Malice:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    trace = tmp_path / "was here"
    torch.save({"state_dict": {}, "loops": {}, "epoch": Malice(trace)}, tmp_path / "last.ckpt")
    with pytest.raises(
        InputError,
        match=r"last.ckpt: is damaged, or holds more than plain values .* which could run code",
    ):
        open_checkpoint(tmp_path / "last.ckpt")
    assert not trace.exists()
    pickle.loads(pickle.dumps(Malice(trace)))
    assert trace.exists(), "it would have"


@pytest.mark.parametrize("keep", [0, 10, 500])
@pytest.mark.parametrize("mmap", [False, True])
def test_a_damaged_checkpoint_is_refused(tmp_path, keep, mmap):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(1000)}, "loops": {}, "epoch": 1}, path)
    assert open_checkpoint(path, mmap=mmap)["epoch"] == 1
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        InputError, match=r"last.ckpt: is damaged, .*; put back a copy, or start a new run"
    ):
        open_checkpoint(path, mmap=mmap)


def test_other_files_of_tensors_are_no_checkpoints(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"last.ckpt: is no checkpoint of a run"):
        open_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"nowhere.ckpt: cannot be read: No such file"):
        open_checkpoint(tmp_path / "nowhere.ckpt")


def test_weights_that_are_no_numbers_are_seen():
    layer = torch.nn.Linear(2, 3)
    assert has_finite_weights(layer)
    layer.bias.data[1] = float("inf")
    assert not has_finite_weights(layer)


def test_progress_in_words():
    assert str(Progress(2, 0)) == "the end of epoch 2"
    assert str(Progress(2, 7)) == "epoch 3, after its step 7"


def test_changed_files_are_told_apart():
    head = "file,split,class,content\na.png,train,red,11\n"
    before = f"{head}b.png,train,red,22\nc.png,val,blue,\nd.png,val,blue,44\n"
    now = f"{head}b.png,train,red,23\nc.png,val,blue,33\ne.png,val,blue,44\n"
    assert changed_files(before, before) == []
    changes = changed_files(before, now)
    assert changes == [
        "e.png is new",
        "d.png is gone",
        "b.png is another file than it was, or labelled otherwise",
    ]
    assert describe_changes(changes, most=1) == "e.png is new and 2 more"
    assert changed_files(
        "file,split,class\na.png,train,red\n", "file,split,class,content\na.png,val,red,1\n"
    ) == ["a.png is now val, red, was train, red"]


def test_changed_settings_have_their_whole_names():
    before = {"lr": 1.0, "optim": {"name": "adamw", "betas": [0.9, 0.99]}}
    now = {"lr": 1.0, "optim": {"name": "sgd", "betas": [0.9, 0.99]}, "seed": 3}
    assert list(changed_settings(before, now)) == [
        "optim.name: the run has adamw, now sgd",
        "seed: the run has None, now 3",
    ]
