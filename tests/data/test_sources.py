"""Images as people give them: files, bytes, arrays, tensors; what is refused, and how."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from nommer.data import web
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
    assert len(sources_of([pixels, pixels])) == 2
    taken = []
    stream = sources_of(taken.append(name) or name for name in "ab")
    assert taken == []
    assert next(iter(stream)) == "a" == taken.pop(), "an iterator is taken image by image"
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
        (torch.full((3, 8, 8), 1.5), "expected floating point from 0 to 1, got 1.5 to 1.5"),
        (torch.full((3, 8, 8), torch.nan), "expected floating point from 0 to 1, got nan to nan"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), r"got \(3, 8, 8\) torch.int64"),
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


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_from_0_to_1_are_images(pixels, kind):
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    seen = np.asarray(open_any((tensor.double() / 255).to(kind)))
    nearest = 1 if kind is torch.bfloat16 else 0
    assert np.abs(seen.astype(int) - pixels).max() <= nearest


def test_blue_may_come_first_in_arrays_and_tensors_alone(file, pixels):
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    given = [pixels[..., ::-1], tensor.flip(0), file, Image.fromarray(pixels)]
    for source in sources_of(given, channels="bgr"):
        assert np.array_equal(np.asarray(open_any(source)), pixels)
    with pytest.raises(InputError, match="channels must be rgb or bgr, got 'gbr'"):
        sources_of(pixels, channels="gbr")


def test_folders_stand_for_their_images(file):
    (file.parent / "deep").mkdir()
    other = file.rename(file.parent / "deep" / "b.png")
    assert sources_of([str(file.parent), other]) == [other, other]


def test_a_wrong_one_among_many_is_named_by_its_place(file):
    with pytest.raises(InputError, match=r"one or many; got dict at position 1"):
        sources_of([file, {}])


class Server:
    """In the place of the web: answers to addresses, and what was asked for."""

    def __init__(self, monkeypatch, content, status=200):
        self.asked, self.status, self.reason = [], status, "Gone"
        self.stream = io.BytesIO(content)
        monkeypatch.setattr(web.OpenerDirector, "open", self.open)

    def open(self, request, *, timeout):
        self.asked.append(request.full_url)
        return self

    def read(self, most):
        return self.stream.read(most)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_addresses_are_fetched_where_that_is_asked_for(file, pixels, monkeypatch):
    server = Server(monkeypatch, file.read_bytes())
    address = "https://example.org/a.png"
    with pytest.raises(InputError, match=r"a.png: is an address; allow_urls=True"):
        sources_of(address)
    with pytest.raises(InputError, match="only https addresses are fetched"):
        sources_of("http://example.org/a.png", allow_urls=True)
    assert server.asked == []
    (source,) = sources_of(address, allow_urls=True)
    for _ in range(2):
        assert np.array_equal(np.asarray(open_any(source)), pixels)
    assert server.asked == [address], "it is fetched once"
    assert source_name(source) == address


def test_what_the_web_does_not_give_is_that_images_error(monkeypatch):
    Server(monkeypatch, b"", status=404)
    (source,) = sources_of("https://example.org/a.png", allow_urls=True)
    with pytest.raises(ImageError, match=r"https://example.org/a.png: the server answers 404"):
        open_any(source)
    Server(monkeypatch, b"x" * 2000)
    monkeypatch.setattr(web, "LARGEST_DOWNLOAD", 1000)
    (source,) = sources_of("https://example.org/a.png", allow_urls=True)
    with pytest.raises(ImageError, match="over the limit of 1,000 bytes"):
        open_any(source)


def test_redirects_lead_to_https_alone():
    request = web.Request("https://example.org/a.png")
    with pytest.raises(web.URLError, match="which is not https"):
        web._Https().redirect_request(request, None, 302, "", {}, "http://example.org/b.png")
