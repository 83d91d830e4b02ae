"""Runs on LitData's chunks that are killed go on exactly, with workers and several processes."""

import pytest

from tests.data.chunk_files import samples_in, write_chunks


@pytest.fixture(scope="module")
def chunks(tmp_path_factory, coloured):
    root = tmp_path_factory.mktemp("chunks")
    for split in ("train", "val"):
        write_chunks(root / split, samples_in(coloured / split), size=3)
    return root


def options(chunks, train_options, *, workers):
    return [f"--data={chunks}", *train_options, f"--workers={workers}", "--checkpoint-minutes=0"]


@pytest.mark.slow
def test_killed_within_an_epoch_it_goes_on_exactly(check_goes_on, chunks, train_options):
    check_goes_on("train", *options(chunks, train_options, workers=1))


@pytest.mark.slow
@pytest.mark.long
def test_several_processes_go_on_exactly(check_goes_on, chunks, train_options):
    given = [*options(chunks, train_options, workers=0), "--batch-size=3"]
    check_goes_on("train", *given, processes=2, rank=1)
