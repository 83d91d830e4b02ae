"""Nothing outside of a run folder is written through it, wherever a stranger has put a link."""

import os
import shutil

import pytest

import nommer
from nommer.errors import InputError
from nommer.files import write_text
from nommer.runs.folder import RunFolder
from nommer.runs.lock import check_unlocked, locked
from nommer.runs.plain import check_plain
from nommer.runs.results import empty, prepare_folder, read_environment

PLACES = [
    *(".lock", "config.yaml", "environment.json", "metrics.csv", "split.csv", "train_batch.jpg"),
    *("checkpoints", "checkpoints/last.ckpt", "checkpoints/best.ckpt"),
    *("model", "model/model.json", "model/model.safetensors", "tensorboard", "nonfinite"),
    *("wandb", "loggers.json", "cache-0.bin", ".config.yaml.1.tmp"),
]


def replace_by_link(path, target):
    """Put a link in the place of a file or folder, to a copy of it outside."""
    if path.is_dir():
        shutil.copytree(path, target)
        shutil.rmtree(path)
    else:
        target.write_bytes(path.read_bytes() if path.exists() else b"precious")
        path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("place", PLACES)
def test_a_run_with_a_link_in_it_does_not_go_on_and_nothing_outside_changes(
    trained, coloured, tmp_path, digest, place
):
    out, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(trained, out)
    outside.mkdir()
    replace_by_link(out / place, outside / "target")
    before = digest(outside)
    with pytest.raises(InputError, match="is a link"):
        nommer.train(
            coloured, model="nommer_micro", epochs=3, batch_size=6, image_size=32, workers=0,
            device="cpu", out=out, resume=True,
        )  # fmt: skip
    assert digest(outside) == before


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_a_lock_that_is_no_plain_file_of_its_own_is_not_written(tmp_path, kind):
    target, run = tmp_path / "target.txt", tmp_path / "run"
    target.write_text("precious")
    run.mkdir()
    lock = run / ".lock"
    make = {
        "link": lambda: lock.symlink_to(target),
        "hard link": lambda: os.link(target, lock),
        "pipe": lambda: os.mkfifo(lock),
        "folder": lock.mkdir,
    }
    make[kind]()
    with pytest.raises(InputError, match="is a link, or no plain file"), locked(run):
        pass
    assert target.read_text() == "precious"


def test_a_pipe_in_the_place_of_the_lock_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(InputError, match="no plain file"):
        check_unlocked(tmp_path)


def test_pipes_are_refused_and_links_of_other_programs_are_not(tmp_path):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "latest-run").symlink_to(tmp_path)
    check_plain(tmp_path)
    (tmp_path / "model").mkdir()
    os.mkfifo(tmp_path / "model" / "model.json")
    with pytest.raises(InputError, match=r"model\.json: is no plain file"):
        check_plain(tmp_path)


def test_emptying_a_folder_removes_links_and_not_what_they_point_to(tmp_path):
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_text("precious")
    prepare_folder(out)
    (out / "checkpoints").symlink_to(outside)
    prepare_folder(out, overwrite=True, replaced=out)
    assert [path.name for path in out.iterdir()] == ["environment.json"]
    assert (outside / "mine.txt").read_text() == "precious"


def test_a_file_is_not_written_through_a_link_that_waits_under_its_temporary_name(tmp_path):
    target = tmp_path / "target.txt"
    target.write_text("precious")
    (tmp_path / f".a.txt.{os.getpid()}.tmp").symlink_to(target)
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert target.read_text() == "precious"


# ---- killed while a folder is being emptied or made


def test_a_folder_that_was_being_emptied_when_its_process_was_killed_may_be_emptied(
    tmp_path, monkeypatch
):
    out = tmp_path / "run"
    prepare_folder(out)
    for name in ("checkpoints", "model", "tensorboard"):
        (out / name).mkdir()
        (out / name / "file").touch()
    (out / "config.yaml").touch()

    remove = shutil.rmtree
    for left in range(3):  # it is killed again and again, after one folder more each time
        for name in ("a", "b", "c"):
            (out / name).mkdir(exist_ok=True)
        calls = iter(range(left))

        def die(path, calls=calls):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            remove(path)

        monkeypatch.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            empty(out)
        monkeypatch.undo()
        assert "nommer" in read_environment(out)["packages"]
        RunFolder(out).check(resume=False, overwrite=True)
    prepare_folder(out, overwrite=True, replaced=out)


def test_a_folder_whose_process_was_killed_before_it_was_made_is_as_good_as_new(tmp_path):
    out = tmp_path / "run"
    with locked(out):
        (out / ".environment.json.123.tmp").write_text("{")
    RunFolder(out).check(resume=False, overwrite=False)
    prepare_folder(out)
    assert [path.name for path in out.iterdir() if path.name != ".lock"] == ["environment.json"]
