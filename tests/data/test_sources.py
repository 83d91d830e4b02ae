"""Images as people give them: files, bytes, arrays, tensors; what is refused, and how."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from nommer.data.images import ImageError
from nommer.data.sources import open_any, source_name, sources_of
from nommer.errors import InputError


class OwnPath:
    def __init__(self, path):
        self.path = str(path)

    def __fspath__(self):
        return self.path


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)


@pytest.fixture
def file(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_every_way_to_give_an_image_gives_its_pixels(file, pixels):
    content = file.read_bytes()
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    with file.open("rb") as stream:
        sources = {
            "path": file,
            "text": str(file),
            "own path": OwnPath(file),
            "bytes": content,
            "bytearray": bytearray(content),
            "view": memoryview(content),
            "stream": io.BytesIO(content),
            "file": stream,
            "picture": Image.fromarray(pixels),
            "array": pixels,
            "tensor": tensor,
        }
        for name, source in sources.items():
            (one,) = sources_of(source)
            assert one is source, name
            assert np.array_equal(np.asarray(open_any(one)), pixels), name
        assert source_name(stream) == source_name(file) == source_name(OwnPath(file)) == str(file)
        assert source_name(content) == source_name(io.BytesIO(content)) == "image"


def test_batches_and_collections_are_many_images(pixels):
    batch = torch.from_numpy(np.stack([pixels, pixels])).permute(0, 3, 1, 2)
    assert len(sources_of(batch)) == len(sources_of(batch.numpy())) == 2
    assert len(sources_of([pixels, pixels])) == len(sources_of(x for x in "ab")) == 2
    assert sources_of([]) == []


@pytest.mark.parametrize("wrong", [None, 0, 1.5, {"image": "a.png"}, object(), True])
def test_what_is_no_image_and_no_collection_is_refused_in_one_sentence(wrong):
    with pytest.raises(InputError, match=r"images to answer must be paths, .* one or many; got "):
        sources_of(wrong)
    with pytest.raises(ImageError, match=r"image: expected paths, .*; got "):
        open_any(wrong)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (
            torch.zeros(3, 8, 8),
            r"expected \(3, H, W\) uint8, 0 to 255, got \(3, 8, 8\) torch.float32",
        ),
        (torch.zeros(8, 8, 7, dtype=torch.uint8), r"expected \(3, H, W\) uint8, .* \(8, 8, 7\)"),
        (np.zeros((8, 8, 3), np.uint16), r"expected \(H, W, 3\) uint8, got \(8, 8, 3\) uint16"),
        (np.zeros((0, 8, 3), np.uint8), r"expected \(H, W, 3\) uint8"),
        (np.array("a.png"), r"expected \(H, W, 3\) uint8"),
        (io.StringIO("text"), r"open in text mode; open it with \"rb\""),
        (b"", "not an image of a known format"),
        (b"a.png", "not an image of a known format"),
    ],
)
def test_images_of_another_kind_have_a_reason(wrong, reason):
    with pytest.raises(ImageError, match=reason):
        open_any(wrong)
