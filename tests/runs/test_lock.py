"""The lock of a run folder: one holder, gone with its process however that ends."""

import os
import signal
import time

import pytest

from nommer.errors import InputError
from nommer.runs.lock import check_unlocked, locked


def hold(folder, *, fork):
    """A process that holds the lock, with `fork` and a process of its own that outlives it.

    Returns both ids.
    """
    reading, writing = os.pipe()
    holder = os.fork()
    if holder == 0:
        with locked(folder):
            worker = os.fork() if fork else 0
            if fork and worker == 0:
                time.sleep(60)
                os._exit(0)
            os.write(writing, f"{worker}\n".encode())
            time.sleep(60)
        os._exit(0)
    worker = int(os.read(reading, 20))
    os.close(reading)
    os.close(writing)
    return holder, worker


@pytest.mark.parametrize("fork", [False, True])
def test_a_lock_dies_with_its_process_although_its_workers_live(tmp_path, fork):
    holder, worker = hold(tmp_path / "run", fork=fork)
    try:
        for _ in range(2):
            with pytest.raises(
                InputError,
                match=rf"run: a run is writing there \(process {holder} on .*\); wait, or",
            ):
                check_unlocked(tmp_path / "run")
            with (
                pytest.raises(InputError, match="a run is writing there"),
                locked(tmp_path / "run"),
            ):
                pass
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        with locked(tmp_path / "run"):
            pass
        check_unlocked(tmp_path / "run")
    finally:
        if worker:
            os.kill(worker, signal.SIGKILL)


def test_a_lock_is_free_again_after_its_run(tmp_path):
    for _ in range(2):
        with locked(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()} on"):
            check_unlocked(tmp_path)
    check_unlocked(tmp_path / "nowhere")
