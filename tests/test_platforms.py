"""Other systems do without what they lack; `tests/elsewhere.py` takes it away."""

import errno
import importlib
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nommer
from nommer import files
from nommer.data import cache, parallel
from nommer.data.cache import CacheFile, DecodedCache
from nommer.errors import InputError
from nommer.files import write_text
from nommer.runs import lock, plain
from nommer.runs.lock import check_unlocked, locked
from nommer.tasks import names
from nommer.tasks.registry import TASKS
from tests.faults import free_port

ELSEWHERE = Path(__file__).with_name("elsewhere.py")


def jobs_elsewhere(root, data, port):
    """Every verb, on a micro network; the data are named in capital letters."""
    run, image = str(root / "ram"), str(data / "VAL" / "red" / "RED-0.png")
    data = str(data).replace(data.name, data.name.upper())
    small = ["--model=nommer_micro", "--epochs=1", "--batch-size=6", "--image-size=32"]
    small += ["--workers=0", "--device=cpu", "--data", data]
    return {
        "check": ["check", data, "--out", str(root / "check")],
        "ram": ["train", "--out", run, "--cache=ram", *small],
        "resumed": ["train", f"--config={root}/RAM/config.yaml", "--out", run, "--resume=true",
                    "--epochs=2"],
        "disk": ["train", "--out", str(root / "disk"), "--cache=disk", *small, "--workers=1"],
        "auto": ["train", "--out", str(root / "auto"), *small, "--batch-size=auto"],
        "evaluate": ["evaluate", run, "--device=cpu"],
        "predict": ["predict", run, image, "--device=cpu"],
        "explain": ["explain", run, image, "--device=cpu"],
        "export": ["export", run, "--out", str(root / "export")],
        "embed": ["embed", run, "--data", data, "--out", str(root / "embed"), "--device=cpu"],
        "prune": ["prune", run, "--data", data, "--out", str(root / "pruned"), "--workers=0",
                  "--device=cpu"],
        "pretrain": ["pretrain", "--teacher", run, "--out", str(root / "pretrained"), *small],
        "benchmark": ["benchmark", "--models=nommer_micro", "--peers=resnet18", "--sizes=32",
                      "--rounds=3", "--batches=1", "--seconds=0.1", "--device=cpu",
                      "--out", str(root / "benchmark")],
        "serve": ["serve", run, "--port", str(port), "--device=cpu"],
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_the_verbs_work_where_much_is_not_there(tmp_path, coloured, start):
    """Without fork, pwrite, memfd_create, fcntl, /proc, some signals, and case-sensitive names."""
    data = tmp_path / "coloured"
    shutil.copytree(coloured, data)
    jobs = jobs_elsewhere(tmp_path, data, free_port())
    given = {
        "jobs": list(jobs.values()),
        "codes": str(tmp_path / "codes.json"),
        "start": start,
        "insensitive": str(tmp_path),
        "image": str(data / "val" / "red" / "red-0.png"),
    }
    done = subprocess.run(
        [sys.executable, ELSEWHERE], input=json.dumps(given), capture_output=True, text=True,
        check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    codes = json.loads((tmp_path / "codes.json").read_text())
    expected = dict.fromkeys(jobs, 0) | {"auto": 2, "serve": 0}
    assert dict(zip(jobs, codes, strict=True)) == expected, done.stderr
    assert "this system has no files in memory" in done.stderr
    assert "--batch-size auto: measures memory of cuda, and of the CPU under Linux" in done.stderr
    assert 'served: {"' in done.stdout
    with (tmp_path / "ram" / "metrics.csv").open() as stream:
        assert len(stream.readlines()) == 3


def test_a_script_without_a_main_guard_is_told_so(monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(SystemExit, match=r'train is called again .* `if __name__ == "__main__":`'):
        nommer.train(data="photos", out="run")


@pytest.mark.parametrize("task", TASKS)
def test_parts_of_a_task_are_handed_to_a_worker_by_name(task):
    for name in ("data", "model", "results"):
        part = getattr(TASKS[task], name)
        assert type(pickle.loads(ForkingPickler.dumps(part))) is type(part)


def test_links_are_refused_where_the_system_would_follow_them(tmp_path, monkeypatch):
    monkeypatch.setattr(plain, "_NO_FOLLOW", 0)
    monkeypatch.setattr(plain, "_PLAIN", 0)
    with locked(tmp_path / "run"):
        pass
    (tmp_path / "run" / ".lock").unlink()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="is a link, or no plain file"), locked(tmp_path / "run"):
        pass
    assert not (tmp_path / "nothing").exists()


def test_the_holder_is_named_where_the_first_byte_cannot_be_read(tmp_path, monkeypatch):
    read = os.read

    def as_windows(descriptor, count):
        if not os.lseek(descriptor, 0, os.SEEK_CUR):
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(descriptor, count)

    monkeypatch.setattr(os, "read", as_windows)
    with locked(tmp_path), pytest.raises(InputError, match=rf"\(process {os.getpid()} on .*\)"):
        check_unlocked(tmp_path)


def test_a_disk_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def no_locks(descriptor, *, blocking):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "lock_descriptor", no_locks)
    with locked(tmp_path):
        pass
    assert "cannot be locked (No locks available)" in "".join(capsys.readouterr())


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_cache_is_the_same_without_pwrite_and_memory_files(tmp_path, monkeypatch, capsys, kind):
    monkeypatch.delattr(os, "pwrite")
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(cache.tempfile, "tempdir", str(tmp_path))
    images = [
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5 + seed, 7, 3), np.uint8))
        for seed in range(40)
    ]
    file = CacheFile(kind, tmp_path, "cache-0.bin")
    file.fill(lambda index: (images[index],), len(images))
    kept = DecodedCache(file.path)
    assert all(kept.get(i)[0].tobytes() == image.tobytes() for i, image in enumerate(images))
    file.close()
    assert list(tmp_path.iterdir()) == []
    said = "".join(capsys.readouterr())
    assert ("no files in memory" in said) == (kind == "ram")


def test_threads_read_where_nothing_can_be_forked(monkeypatch):
    monkeypatch.delattr(os, "fork")
    monkeypatch.setattr(parallel, "FEW", 1)
    here = parallel.read_all(lambda _: os.getpid(), range(8), what="reading")
    assert set(here) == {os.getpid()}


def test_a_file_that_another_program_has_open_is_replaced_later(tmp_path, monkeypatch):
    refusals = iter([PermissionError(), PermissionError(), None])
    replace = Path.replace

    def busy(self, target):
        if error := next(refusals):
            raise error
        return replace(self, target)

    monkeypatch.setattr(files, "_TRIES", 10)
    monkeypatch.setattr(files, "_PAUSE", 0)
    monkeypatch.setattr(Path, "replace", busy)
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("con", "con_"), ("NUL.tar", "NUL_"), ("a:b?c", "a_b_c"), ("console", "console"), ("é", "é")],
)
def test_results_get_names_that_windows_takes(monkeypatch, name, expected):
    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        forbidden = importlib.util.module_from_spec(names.__spec__)
        names.__spec__.loader.exec_module(forbidden)
        assert forbidden._shorten(name) == expected
    assert names._shorten("a:b?c") == "a:b?c"
