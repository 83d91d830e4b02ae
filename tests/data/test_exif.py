"""EXIF data: found wherever they stand, without reading pixels in vain or hiding that these are
damaged.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from nommer.data.audit import read_image
from nommer.data.exif import has_sound_exif, orientation_of
from nommer.data.formats.image_files import upright_size
from nommer.data.formats.mask_pairs import MaskSample
from nommer.data.images import ImageError, decode
from nommer.data.mask_audit import read_pair
from nommer.data.masks import MaskEncoding, read_mask
from nommer.data.sources import open_any

ENCODING = MaskEncoding({0: 0, 1: 1, 2: 2})


@pytest.fixture
def reads(monkeypatch):
    """Every time that the pixels of a PNG are decoded."""
    times = []
    prepare = PngImageFile.load_prepare

    def count(image):
        times.append(image.size)
        return prepare(image)

    monkeypatch.setattr(PngImageFile, "load_prepare", count)
    return times


def blocks(side=64):
    """A mask of three classes in blocks, which compresses well."""
    return np.kron(np.arange(16).reshape(4, 4) % 3, np.ones((side // 4, side // 4))).astype(
        np.uint8
    )


def damage(path):
    """Overwrite a byte in the middle of a PNG's pixels, of which Pillow then decodes but a part."""
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 0x40
    path.write_bytes(content)
    return path


def sideways():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def move_behind(path, kind):
    """Put the first chunk of a kind in a PNG behind its pixels."""
    content, chunks, place = path.read_bytes(), [], 8
    while place < len(content):
        end = place + 12 + struct.unpack(">I", content[place : place + 4])[0]
        chunks.append(content[place:end])
        place = end
    moved = next(chunk for chunk in chunks if chunk[4:8] == kind)
    chunks.remove(moved)
    path.write_bytes(content[:8] + b"".join([*chunks[:-1], moved, chunks[-1]]))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def late_xmp(path):
    """Return a PNG that says in XMP data behind its pixels that it is to be turned."""
    text = b'XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta tiff:Orientation="6"></x:xmpmeta>'
    content = path.read_bytes()
    path.write_bytes(content[:-12] + chunk(b"iTXt", text) + content[-12:])


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_png_is_refused_by_whatever_reads_it_each_time(tmp_path, seed):
    noise = np.random.default_rng(seed).integers(0, 3, (64, 64), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    path = damage(tmp_path / "a.png")
    content = path.read_bytes()
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode(path)
    with pytest.raises(ImageError, match="cannot be decoded"):
        read_mask(path, ENCODING)
    with (
        Image.open(io.BytesIO(content)) as image,
        pytest.raises(ImageError, match="cannot be decoded"),
    ):
        open_any(image)
    report = read_image(path, whole=True)
    assert report.error.startswith("cannot be decoded")
    assert report.remarks == ()


def test_a_mask_damaged_anywhere_is_refused_where_an_image_is(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(blocks(256)).save(path)
    content, refused = path.read_bytes(), 0
    for place in range(41, len(content) - 12):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :])
        try:
            decode(path)
        except ImageError:
            refused += 1
            with pytest.raises(ImageError):
                read_mask(path, ENCODING)
    assert refused > 50


def test_the_header_of_a_png_that_is_cut_tells_nothing_of_its_exif_data(tmp_path, noisy):
    noisy((0, 0, 200)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    report = read_image(tmp_path / "a.png", whole=False)
    assert (report.error, report.remarks) == (None, ())
    assert read_image(tmp_path / "a.png", whole=True).error.startswith("cannot be decoded")


def test_a_png_is_decoded_once_at_most(tmp_path, reads):
    Image.fromarray(blocks()).save(tmp_path / "mask.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "image.jpg")
    for work, times in {
        lambda: upright_size(tmp_path / "mask.png"): 0,
        lambda: read_image(tmp_path / "mask.png", whole=False): 0,
        lambda: read_image(tmp_path / "mask.png", whole=True): 1,
        lambda: read_pair(
            MaskSample(tmp_path / "image.jpg", tmp_path / "mask.png"), ENCODING, whole=True
        ): 1,
    }.items():
        reads.clear()
        work()
        assert len(reads) == times


@pytest.mark.parametrize("late", ["eXIf", "XMP", None])
def test_an_orientation_behind_the_pixels_turns_too(tmp_path, reads, late):
    path = tmp_path / "a.png"
    Image.new("L", (9, 5)).save(path, exif=b"" if late == "XMP" else sideways())
    if late == "eXIf":
        move_behind(path, b"eXIf")
    elif late:
        late_xmp(path)
    assert upright_size(path) == (5, 9)
    assert len(reads) == (1 if late else 0)
    report = read_image(path, whole=False)
    assert (report.size, report.orientation) == ((9, 5), 6)
    assert decode(path).size == (5, 9)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg", "a.webp"])
@pytest.mark.parametrize("whole", [True, False])
def test_sizes_of_images_that_lie_on_their_side_mean_the_same_in_every_format(
    tmp_path, name, whole
):
    Image.new("RGB", (40, 20)).save(tmp_path / name, exif=sideways())
    report = read_image(tmp_path / name, whole=whole)
    assert (report.size, report.orientation) == ((40, 20), 6)
    assert upright_size(tmp_path / name) == decode(tmp_path / name).size == (20, 40)


def test_a_png_whose_chunks_lead_nowhere_keeps_its_place(tmp_path):
    Image.fromarray(blocks()).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    with Image.open(
        io.BytesIO(content[:-12] + chunk(b"zTXt", b"Comment\0\0") + b"\xff" * 8)
    ) as image:
        assert has_sound_exif(image)
        assert orientation_of(image) == 1
        assert np.array_equal(np.asarray(image), blocks())
