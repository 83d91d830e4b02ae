"""Files are read several at a time, in order, whatever reads them and whatever goes wrong."""

import io
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nommer.data.images import ImageError
from nommer.data.parallel import FEW, count_readers, read_all, read_together
from nommer.errors import InputError


@pytest.mark.parametrize("number", [0, 1, FEW - 1, FEW, 5 * FEW + 3])
def test_results_are_in_order(number):
    offset = 7  # which no other process could be sent
    assert read_all(lambda value: value + offset, range(number), what="") == list(
        range(7, number + 7)
    )


@pytest.mark.skipif(count_readers() < 2, reason="one core")
def test_many_files_are_read_by_processes_and_few_are_not():
    assert set(read_all(lambda _: os.getpid(), range(FEW - 1), what="")) == {os.getpid()}
    assert set(read_all(lambda _: os.getpid(), range(FEW), what="", processes=False)) == {
        os.getpid()
    }
    readers = set(read_all(lambda _: os.getpid(), range(FEW), what=""))
    assert os.getpid() not in readers
    assert not any(Path(f"/proc/{process}").exists() for process in readers), "they have ended"


@pytest.mark.skipif(count_readers() < 2, reason="one core")
def test_a_process_that_is_killed_is_told_in_a_sentence():
    def read(value):
        if value == 100:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    with pytest.raises(
        InputError, match=r"a process that read .* was ended by the system, most likely for want"
    ):
        read_all(read, range(FEW), what="")


@pytest.mark.parametrize("number", [FEW - 1, FEW])
def test_an_error_keeps_its_kind_and_its_sentence(number):
    def read(value):
        if value == 100:
            raise ImageError("a.png", "is cut")
        return value

    with pytest.raises(ImageError, match=r"a\.png: is cut") as error:
        read_all(read, range(number), what="")
    assert error.value.reason == "is cut"


def test_a_batch_is_read_by_threads_in_order_and_streams_by_the_caller():
    stream = io.BytesIO(b"abcdef")
    threads = {}

    def read(source):
        threads[str(source)] = threading.current_thread()
        return source.read(3) if source is stream else source

    with ThreadPoolExecutor(2) as readers:
        found = read_together(read, ["a", stream, "b", stream], readers)
    assert found == ["a", b"abc", "b", b"def"]  # one stream twice, each part once
    assert threads[str(stream)] is threading.main_thread() is not threads["a"]
