"""Damage is told: a flipped bit of any file that is read again is refused or changes nothing."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nommer import InputError, load
from nommer.backbone.network import NomMer
from nommer.checksums import BLANK, STAMP, check_file, check_stamp, checksum, is_whole, stamped
from nommer.exporting.export import export_model
from nommer.models.storage import save_model
from nommer.runs.checkpoint import MovableCheckpoint, open_checkpoint

DAMAGED = "is damaged"


@pytest.fixture
def saved(tmp_path, tiny_classifier):
    model = tiny_classifier(("Käfer", "猫", "x"), seed=3, global_pool="avg")
    save_model(
        tmp_path / "model", model, metrics={"top1": 0.5, "ap": [None, float("nan")]}, version="1"
    )
    return tmp_path / "model"


def flipped(path, *, most, seed=0):
    """The file with one bit flipped after the other, at even distances; whole again in the end."""
    whole = path.read_bytes()
    bits = np.random.default_rng(seed).permutation(8 * len(whole))[:most]
    for bit in sorted(int(bit) for bit in bits):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        yield bit
    path.write_bytes(whole)


def refused(path):
    try:
        load(path)
    except InputError as error:
        return str(path) in str(error)
    return False


def test_every_kind_of_bit_in_weights_is_seen(saved):
    assert not refused(saved)
    missed = [bit for bit in flipped(saved / "model.safetensors", most=150) if not refused(saved)]
    assert missed == []


def test_every_kind_of_bit_in_a_description_is_seen(saved):
    path = saved / "model.json"
    before, missed = json.loads(path.read_text()), []
    for bit in flipped(path, most=1000):
        if not refused(saved):
            missed.append(bit)
            changed = json.loads(path.read_text())
            assert {
                k: v for k, v in changed.items() if k not in before
            } == {} or "sha256" not in changed
    assert len(missed) <= 60, "white space, and the name of the checksum itself"


@pytest.mark.parametrize("letters", ["sha256", '"model.json"', '"model.safetensors"'])
def test_every_bit_in_the_names_of_checksums_is_seen(saved, letters):
    path = saved / "model.json"
    whole = path.read_bytes()
    start = whole.rindex(letters.encode())
    for bit in range(8 * start, 8 * (start + len(letters))):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        assert refused(saved), bit


def test_a_stamp_that_lost_its_name_is_seen(tmp_path):
    file = tmp_path / "model.onnx"
    whole = stamped(b"weights" + STAMP + BLANK + b"more")
    file.write_bytes(whole)
    check_stamp(file)
    for bit in range(8 * len(b"weights"), 8 * (len(b"weights") + len(STAMP))):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            check_stamp(file)


@pytest.mark.slow
def test_every_kind_of_bit_in_an_export_is_seen(tmp_path, tiny_classifier):
    export_model(tiny_classifier(), torch.rand(2, 3, 32, 32), tmp_path)
    path = tmp_path / "model.onnx"
    assert not refused(path)
    expected = load(path)(torch.ones(1, 3, 32, 32))
    for _ in flipped(path, most=150):
        if not refused(path):  # the name under which the checksum stands
            assert torch.equal(load(path)(torch.ones(1, 3, 32, 32)), expected)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def test_every_kind_of_bit_in_a_checkpoint_is_seen_or_does_nothing(tmp_path):
    path = tmp_path / "last.ckpt"
    weights = {"a": torch.randn(40), "b": torch.randn(3, 5)}
    content = {"state_dict": weights, "loops": {"fit": 3}, "epoch": 7, "callbacks": {"x": [1, 2.5]}}
    torch.save(content, path)
    seen = 0
    for _ in flipped(path, most=1500):
        try:
            assert same(open_checkpoint(path), content)
        except InputError as error:
            seen += DAMAGED in str(error) or "is no checkpoint" in str(error)
    assert seen > 500
    assert same(open_checkpoint(path), content)


def test_what_is_read_lazily_is_checked_where_it_is_read(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(1000)}, "loops": {}, "epoch": 7}, path)
    content = path.read_bytes()
    path.write_bytes(content.replace(bytes(2000), b"\1" + bytes(1999), 1))
    assert not is_whole(path)
    assert open_checkpoint(path, mmap=True)["epoch"] == 7
    with pytest.raises(InputError, match=r"last.ckpt: is damaged"):
        open_checkpoint(path)


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_run_does_not_go_on_without_its_best_epoch(tmp_path, damage):
    best = tmp_path / "checkpoints" / "best.ckpt"
    best.parent.mkdir()
    callback = MovableCheckpoint(best.parent, measure="val_top1")
    state = callback.state_dict() | {
        "best_model_path": str(best),
        "best_model_score": torch.ones(()),
    }
    torch.save({"a": torch.zeros(1000)}, best)
    callback.load_state_dict(state)
    assert callback.best_model_path == str(best)
    if damage == "gone":
        best.unlink()
    else:
        best.write_bytes(best.read_bytes().replace(bytes(2000), b"\1" + bytes(1999), 1))
    with pytest.raises(
        InputError,
        match=rf"best.ckpt: is {damage}, and with it the best epoch so far; put back a copy, or "
        r"start a new run from its weights, which .*/model has too, with --pretrained",
    ):
        callback.load_state_dict(state)


def test_a_run_that_has_no_best_epoch_yet_goes_on(tmp_path):
    callback = MovableCheckpoint(tmp_path, measure="val_top1")
    callback.load_state_dict(callback.state_dict())


def test_files_are_compared_with_what_is_told_of_them(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    check_file(path, checksum(path), "list.json")
    with pytest.raises(InputError, match=r"a: is damaged or was changed: .* list.json has 5; put"):
        check_file(path, 5, "list.json")


def test_a_stamp_needs_its_place(tmp_path):
    with pytest.raises(ValueError, match="no place for a checksum"):
        stamped(b"anything")
    (tmp_path / "a.onnx").write_bytes(b"anything")
    check_stamp(tmp_path / "a.onnx")


def test_weights_say_what_they_are_without_nommer(saved):
    """Other tools read them, and find no more than the tensors."""
    network = NomMer(load(saved).network.config)
    network.load_state_dict(load_file(saved / "model.safetensors"))
    assert json.loads((saved / "model.json").read_text())["sha256"].keys() == {
        "model.safetensors",
        "model.json",
    }
