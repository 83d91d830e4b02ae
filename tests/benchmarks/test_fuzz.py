"""Damaged files of every kind are read, or refused with one sentence: a minute of fuzzing."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_kinds import KINDS

SECONDS = 7
"""Of each kind."""


@pytest.fixture(scope="module")
def fuzz(script):
    return script("fuzz")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    made = {}
    for name, kind in KINDS.items():
        made[name] = tmp_path_factory.mktemp(name)
        kind.make(made[name])
    return made


@pytest.mark.parametrize("name", KINDS)
def test_every_sound_corpus_is_read(corpora, name):
    files = sorted(path for path in corpora[name].rglob("*") if path.is_file())
    for file in files if name in ("images", "archives", "config") else files[:1]:
        KINDS[name].read(corpora[name], file)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_read_or_refused(fuzz, corpora, tmp_path, name):
    end = time.monotonic() + SECONDS

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(number=st.integers(0, 2**32))
    def try_one(number):
        if time.monotonic() < end:
            found = fuzz.try_input(KINDS[name], corpora[name], Path(tmp_path, "input"), number)
            assert found in ("read", "refused"), f"{name} {number}: {found}"

    try_one()


def test_a_reader_that_fails_is_told_with_its_traceback(fuzz, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_bytes(b"sound")

    def fail(folder, damaged):
        raise KeyError(damaged.name)

    failing = type(KINDS["images"])(make=lambda folder: None, read=fail)
    assert "KeyError" in fuzz.try_input(failing, tmp_path / "corpus", tmp_path / "input", 0)
    lenient = type(failing)(lambda folder: None, lambda folder, file: None, has_checksums=True)
    found = {fuzz.try_input(lenient, tmp_path / "corpus", tmp_path / "input", n) for n in range(20)}
    assert "taken" in found


def test_damage_is_the_same_for_the_same_number(fuzz):
    content = bytes(range(256))
    first, second = (fuzz.damage(content, np.random.default_rng(5)) for _ in range(2))
    assert first == second
