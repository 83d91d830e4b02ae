"""Large images take turns, and links, names and sparse archives cost no more than they should."""

import multiprocessing
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nommer.data.archives import read_bytes
from nommer.data.image_paths import visible_files
from nommer.data.images import decode
from nommer.data.turns import share_turns, turn

LARGE = (13_000, 13_000)

MEASURED = """
import resource, sys
from pathlib import Path
from nommer.data.audit import read_images
from nommer.data.images import decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
paths = [Path(path) for path in sys.argv[2:]]
if sys.argv[1] == "audit":
    assert not any(report.error for report in read_images(paths, whole=True))
else:
    decode(paths[0])
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def together(size, number, work, *, wait=0.0):
    """Return the largest number of images of a size that `work` holds at once.

    Each is held for a moment, or for `wait` seconds, but no longer than until another is held too.
    """
    held, most = multiprocessing.Value("i", 0), multiprocessing.Value("i", 0)

    def hold():
        with turn(size):
            with held.get_lock():
                held.value += 1
                most.value = max(most.value, held.value)
            time.sleep(0.02)
            end = time.monotonic() + wait
            while most.value < 2 and time.monotonic() < end:
                time.sleep(0.01)
            with held.get_lock():
                held.value -= 1

    work(hold, number)
    return most.value


def in_threads(hold, number):
    with ThreadPoolExecutor(number) as pool:
        list(pool.map(lambda _: hold(), range(number)))


def in_processes(hold, number):
    share_turns()
    processes = [multiprocessing.get_context("fork").Process(target=hold) for _ in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


@pytest.mark.parametrize("work", [in_threads, in_processes])
def test_very_large_images_are_held_one_at_a_time_and_others_together(work):
    assert together(LARGE, 4, work) == 1
    assert together((6000, 5000), 6, work) <= 4
    assert together((100, 100), 4, work, wait=20) > 1


def test_a_process_that_is_killed_gives_its_turn_back():
    share_turns()
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def hold():
        with turn(LARGE):
            ready.set()
            time.sleep(60)

    def follow():
        with turn(LARGE):
            pass

    first = context.Process(target=hold)
    first.start()
    assert ready.wait(20)
    second = context.Process(target=follow)
    second.start()
    first.kill()
    second.join(20)
    assert second.exitcode == 0


@pytest.mark.slow
@pytest.mark.parametrize("what", ["audit", "decode"])
def test_images_of_sixteen_bits_take_twice_what_they_need_over_all_readers(tmp_path, what):
    values = np.zeros(LARGE, np.uint16)
    values[::2] = 60_000
    Image.fromarray(values).save(tmp_path / "0.tif")
    for number in range(1, 4):
        (tmp_path / f"{number}.tif").symlink_to(tmp_path / "0.tif")
    files = [str(tmp_path / f"{number}.tif") for number in range(4)]
    command = [sys.executable, "-c", MEASURED, what, *files]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown <= 2 * 4 * LARGE[0] * LARGE[1]


@pytest.mark.parametrize("layout", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_sparse_members_of_tars_are_read_with_their_holes(tmp_path, layout):
    pixels = np.zeros((600, 700, 3), np.uint8)
    pixels[:20], pixels[500:520] = 200, 90
    Image.fromarray(pixels).save(tmp_path / "a.bmp")
    content = (tmp_path / "a.bmp").read_bytes()
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "a.bmp").open("wb") as stream:
        for start in range(0, len(content), 4096):
            block = content[start : start + 4096]
            if any(block):
                stream.seek(start)
                stream.write(block)
        stream.truncate(len(content))
    kind = {tarfile.GNU_FORMAT: "gnu", tarfile.PAX_FORMAT: "pax"}[layout]
    for name in ("a.tar", "a.tar.gz"):
        options = ["-S", f"--format={kind}", "-czf" if name.endswith("gz") else "-cf"]
        subprocess.run(["tar", *options, name, "in"], cwd=tmp_path, check=True)
        (path,) = visible_files(tmp_path / name)
        assert read_bytes(path) == content
        assert np.array_equal(np.asarray(decode(path)), pixels)
    assert (tmp_path / "a.tar").stat().st_size < len(content) / 4, "it is a sparse one"
    assert Path(tmp_path / "in" / "a.bmp").read_bytes() == content
