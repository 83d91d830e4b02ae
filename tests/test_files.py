"""Files are replaced whole or not at all, whatever happens on the way."""

import errno
import json
import os
import resource
import signal

import pytest
import torch

from nommer.files import to_json, write_atomically, write_json, write_text
from nommer.runs.checkpoint import AtomicCheckpointIO


def test_replaces_the_content_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "one")
    write_text(path, "zwei ü 猫")
    assert path.read_text(encoding="utf-8") == "zwei ü 猫"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_midway_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(stream):
        stream.write(b"half of the new")
        stream.flush()
        assert path.read_bytes() == b"old", "nobody sees a file half written"
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


POINTS = {
    "while writing": ("write", 1),
    "before the file is flushed": ("fsync", 1),
    "before it is renamed": ("replace", 1),
    "before the folder is flushed": ("fsync", 2),
}
"""Places where a process is killed: instead of the n-th call of this function."""


@pytest.mark.parametrize(("name", "number"), POINTS.values(), ids=POINTS.keys())
def test_a_process_killed_at_any_point_leaves_the_old_file_or_the_new_one(tmp_path, name, number):
    path, left = tmp_path / "a.bin", [number]
    path.write_bytes(b"old" * 10_000)
    process = os.fork()
    if process == 0:

        def die(*arguments):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def write(stream):
            stream.write(b"new" * 5_000)
            stream.flush()
            if name == "write":
                die()
            stream.write(b"new" * 5_000)

        if name != "write":
            setattr(os, name, die)
        write_atomically(path, write)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert path.read_bytes() in (b"old" * 10_000, b"new" * 10_000)


@pytest.fixture
def small_disk():
    """No file of this process may grow over 100 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save_bytes(path):
    write_atomically(path, lambda stream: stream.write(b"x" * 200_000))


def save_checkpoint(path):
    AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(100_000)}, path)


@pytest.mark.parametrize("save", [save_bytes, save_checkpoint])
def test_a_full_disk_costs_no_old_file(tmp_path, small_disk, save):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)) as caught:
        save(path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "nowhere" / "a.txt", "text")


def test_json_is_readable_and_holds_any_file_name(tmp_path):
    value = {"käfer": [1, 2.5, None], "latin-1 name": os.fsdecode(b"caf\xe9.png")}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert '"käfer"' in text
    assert json.loads(text) == value
    assert "\n" not in to_json(value)


def test_text_keeps_file_names_that_are_no_utf8(tmp_path):
    write_text(tmp_path / "a.txt", os.fsdecode(b"caf\xe9.png"))
    assert (tmp_path / "a.txt").read_bytes() == b"caf\xe9.png"
