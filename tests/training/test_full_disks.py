"""A run folder that cannot be written to: one sentence, whoever finds out."""

import errno
import threading

import pytest

from nommer.errors import InputError
from nommer.runs.folder import RunFolder
from nommer.training.full_disks import explaining_full_disks


def fail(error):
    raise error


def test_the_sentence_says_what_is_saved_and_what_to_do(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device", "metrics.csv")
    with pytest.raises(InputError) as caught, explaining_full_disks(RunFolder(tmp_path)):
        fail(full)
    assert str(caught.value) == (
        "metrics.csv: cannot be written: No space left on device; nothing was saved yet; make "
        "room, or see to the "
        "permissions, and start again with --overwrite"
    )


def test_a_thread_that_cannot_write_prints_no_traceback(tmp_path, monkeypatch):
    printed = []
    monkeypatch.setattr(threading, "excepthook", lambda failed: printed.append(failed.exc_value))
    full, other = OSError(errno.ENOSPC, "No space left on device"), ValueError("something else")
    with explaining_full_disks(RunFolder(tmp_path)):
        for error in (full, other):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
    assert printed == [other]
