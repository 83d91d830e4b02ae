"""Chunks of coloured images, as LitData writes them."""

import io

import pytest


def write_chunks(folder, samples, *, size=4):
    """Write samples, dictionaries or tuples, so many to a chunk."""
    writer = pytest.importorskip("litdata.streaming.writer").BinaryWriter(
        str(folder), chunk_size=size
    )
    for number, sample in enumerate(samples):
        writer[number] = sample
    writer.done()
    writer.merge()
    return folder


def samples_in(folder):
    """The images of class folders, in turn of every class."""
    paths = sorted(folder.rglob("*.png"), key=lambda path: (path.stem.split("-")[1], path))
    return [{"image": path.read_bytes(), "class": path.parent.name} for path in paths]


def as_png(image):
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
