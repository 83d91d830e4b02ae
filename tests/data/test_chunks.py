"""LitData's chunks: read like archives, in an order that needs few of them, here or elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest

import nommer
from nommer.cli import main
from nommer.data.archives import read_bytes
from nommer.data.chunks import chunks_of
from nommer.data.formats.classification import read_classification
from nommer.data.formats.find import find_task
from nommer.data.formats.source import Source
from nommer.data.remote import bring
from nommer.data.seeding import TOGETHER, ChunkSampler
from nommer.errors import InputError
from tests.data.chunk_files import samples_in, write_chunks
from tests.data.servers import Proxy
from tests.run_contents import checkpoint, same

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(scope="session")
def chunks(tmp_path_factory, coloured):
    """The images of `coloured`, four to a chunk: 5 chunks in train, 3 in val."""
    root = tmp_path_factory.mktemp("chunks")
    for split in ("train", "val"):
        write_chunks(root / split, samples_in(coloured / split))
    return root


@pytest.fixture
def pets(bucket, chunks):
    """The address of the same chunks in a bucket."""
    for path in sorted(chunks.rglob("*")):
        if path.is_file():
            bucket.client.upload_file(str(path), "pets", f"chunks/{path.relative_to(chunks)}")
    return "s3://pets/chunks"


def test_samples_are_images_with_classes(chunks, coloured):
    assert find_task(chunks) == "classification"
    data = read_classification(chunks)
    assert data.class_names == ("blue", "green", "red")
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 18, "val": 9}
    first = data.splits["train"][0]
    assert data.name_of(first.path) == "train/chunk-0-0.bin/000000"
    expected = samples_in(coloured / "train")
    for sample, told in zip(data.splits["train"], expected, strict=True):
        assert read_bytes(sample.path) == told["image"]
        assert data.class_names[sample.label] == told["class"]
    assert chunks_of(data.splits["val"]) == [0] * 4 + [1] * 4 + [2]
    with pytest.raises(FileNotFoundError):
        read_bytes(first.path.with_name("000004"))


def test_numbers_take_names_from_a_file(tmp_path, coloured):
    pictures = [sample["image"] for sample in samples_in(coloured / "val")]
    write_chunks(tmp_path, [(picture, n % 2) for n, picture in enumerate(pictures)])
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    data = read_classification(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert [sample.label for sample in data.splits["train"]] == [n % 2 for n in range(9)]


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        ({"image": b"x", "class": {1, 2}}, "class \\(pickle\\)"),
        ({"image": b"x", "other": b"y", "label": 1}, "expected one image"),
        ({"image": b"x", "one": "a", "two": "b"}, "one class"),
    ],
)
def test_samples_of_another_kind_are_refused_unread(tmp_path, sample, told):
    write_chunks(tmp_path, [sample] * 2)
    with pytest.raises(InputError, match=f"index.json: a sample has the fields.*{told}"):
        read_classification(tmp_path)


def test_a_damaged_chunk_is_one_sentence(tmp_path, coloured):
    write_chunks(tmp_path, samples_in(coloured / "val"))
    (tmp_path / "chunk-0-1.bin").write_bytes(b"short")
    with pytest.raises(InputError, match=r"chunk-0-1.bin: cannot be read"):
        read_classification(tmp_path)
    (tmp_path / "chunk-0-1.bin").unlink()
    with pytest.raises(InputError, match=r"chunk-0-1.bin: cannot be read"):
        read_classification(tmp_path)


@pytest.mark.parametrize("processes", [1, 3])
def test_every_sample_comes_once_and_few_chunks_are_read_at_a_time(processes):
    chunks = np.repeat(np.arange(30), 10)
    samplers = [
        ChunkSampler(chunks, seed=3, rank=r, world_size=processes) for r in range(processes)
    ]
    orders = [[index for index, _ in sampler] for sampler in samplers]
    whole = [index for together in zip(*orders, strict=True) for index in together]
    assert sorted(whole) == list(range(300))
    for start in range(0, 300, 10 * TOGETHER):
        assert len(set(chunks[whole[start : start + 10 * TOGETHER]])) <= TOGETHER
    assert whole != sorted(whole)
    samplers[0].set_epoch(1)
    assert [index for index, _ in samplers[0]] != orders[0]
    samplers[0].skip(1, 20)
    rest = [index for index, _ in samplers[0]]
    samplers[0].skip(1, 0)
    assert rest == [index for index, _ in samplers[0]][20:]


@pytest.mark.slow
@pytest.mark.usefixtures("sketched")
def test_chunks_elsewhere_give_the_same_run_in_the_room_of_a_few(
    pets, chunks, train_options, tmp_path, monkeypatch
):
    largest = max(path.stat().st_size for path in chunks.rglob("*.bin"))
    monkeypatch.setenv("NOMMER_CACHE_LIMIT", f"{3 * largest / 1e6}MB")
    runs = [tmp_path / "here", tmp_path / "there"]
    for run, data in zip(runs, (chunks, pets), strict=True):
        assert main(["train", "--data", str(data), "--out", str(run), *train_options]) == 0
    kept = [path.stat().st_size for path in (tmp_path / "cache").rglob("chunk-*.bin")]
    assert 0 < sum(kept) <= 3 * largest
    assert same(*(nommer.load(run).state_dict() for run in runs))
    assert same(*(checkpoint(run, "last")["optimizer_states"] for run in runs))
    splits = [(run / "split.csv").read_text() for run in runs]
    assert splits[0] == splits[1]


def test_classes_are_read_once(pets):
    copy = bring(Path(pets))
    assert list(copy.root.rglob("chunk-*.bin")) == []
    first = read_classification(Source(Path(pets)))
    for path in copy.root.rglob("chunk-*.bin"):
        path.unlink()
    Proxy.asked.clear()
    again = read_classification(Source(Path(pets)))
    assert again.splits == first.splits
    assert not [path for method, path, *_ in Proxy.asked if method == "GET" and ".bin" in path]
    assert set(json.loads((copy.folder / "labels.json").read_text())) >= {"val/chunk-0-2.bin"}


def test_a_server_that_is_down_or_has_another_chunk_is_no_fault_of_images(
    pets, bucket, monkeypatch
):
    data = read_classification(Source(Path(pets)))
    copy = bring(Path(pets))
    for path in copy.root.rglob("chunk-*.bin"):
        path.unlink()
    bucket.client.put_object(Bucket="pets", Key="chunks/val/chunk-0-0.bin", Body=b"other")
    with pytest.raises(InputError, match=r"^s3://pets/chunks/val/chunk-0-0.bin: is another one"):
        read_bytes(data.splits["val"][0].path)
    monkeypatch.setattr(Proxy, "fault", 403)
    with pytest.raises(InputError, match=r"^s3://pets/chunks/train/chunk-0-0.bin: access is ref"):
        read_bytes(data.splits["train"][0].path)
    assert main(["check", f"{pets}#version={copy.version}"]) == 2
