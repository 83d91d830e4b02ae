"""Images of more than 8 bits: every kind of file, the range that is said, and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from nommer.data.images import ImageError, decode
from nommer.errors import InputError
from nommer.settings.pixel_range import Reading, check_range
from tests.data.tiffs import png16, tiff

SIDE = 48
GREY = np.linspace(0, 4095, SIDE * SIDE).reshape(SIDE, SIDE, 1).astype(np.uint16)
COLOUR = np.concatenate([GREY, GREY[::-1], GREY[:, ::-1]], -1)
OPAQUE = np.full_like(GREY, 65535)


def read(content, **reading):
    return np.asarray(decode("x.png", Reading(**reading), content=content)).astype(int)


def scaled(values, high=4095.0):
    return np.rint(np.broadcast_to(values, (SIDE, SIDE, 3)) * 255.0 / high)


FILES = {
    "grey png": (png16(GREY), GREY),
    "grey and alpha png": (png16(np.concatenate([GREY, OPAQUE], -1)), GREY),
    "colour png": (png16(COLOUR), COLOUR),
    "colour and alpha png": (png16(np.concatenate([COLOUR, OPAQUE], -1)), COLOUR),
    "grey tiff": (tiff(GREY), GREY),
    "grey tiff, white is zero": (tiff(4095 - GREY, photometric=0), GREY),
    "colour tiff": (tiff(COLOUR, photometric=2), COLOUR),
    "compressed colour tiff": (tiff(COLOUR, photometric=2, compressed=True), COLOUR),
    "compressed grey tiff": (tiff(GREY, compressed=True), GREY),
    "32-bit tiff": (tiff(GREY.astype(np.int32)), GREY),
    "float tiff": (tiff(GREY.astype(np.float32), float_pixels=True), GREY),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("given", ["12bit", (0.0, 4095.0)])
def test_values_of_twelve_bits_are_scaled_to_the_whole_of_eight(name, given):
    content, values = FILES[name]
    assert np.abs(read(content, range=given) - scaled(values)).max() == 0


@pytest.mark.parametrize("name", [name for name in FILES if "white" not in name])
def test_other_values_than_the_range_says_are_refused(name):
    with pytest.raises(ImageError, match=r"from 0 to 4095, but the range of pixels is 10bit, 0 to"):
        read(FILES[name][0], range="10bit")


def test_few_values_outside_of_a_range_in_numbers_are_clipped_and_many_refused():
    assert read(FILES["grey png"][0], range=(0.0, 4090.0)).max() == 255
    with pytest.raises(ImageError, match="but the range of pixels is 0 to 3000"):
        read(FILES["grey png"][0], range=(0.0, 3000.0))


@pytest.mark.parametrize(
    ("values", "given"),
    [
        (np.arange(256), "8bit"),
        (np.linspace(0, 1, 256), "unit"),
        (np.linspace(-1000, 3000, 256), (-1000.0, 3000.0)),
    ],
)
def test_small_negative_and_float_values(values, given):
    pixels = values.astype(np.float32).reshape(16, 16, 1)
    found = read(tiff(pixels, float_pixels=True), range=given)[..., 0].ravel()
    assert found.tolist() == list(range(256))


def test_without_a_range_floats_are_refused_with_theirs_and_the_option():
    with pytest.raises(ImageError, match=r"float pixels from 0 to 4095: .* --pixels.range"):
        read(FILES["float tiff"][0])
    with pytest.raises(ImageError, match="infinite or NaN"):
        read(tiff(np.full((4, 4, 1), np.nan, np.float32), float_pixels=True), range="unit")


def test_white_is_zero_in_sixteen_bits_as_in_eight():
    wide = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16, 1)
    narrow = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert read(tiff(wide, photometric=0)).tolist() == read(tiff(narrow, photometric=0)).tolist()
    assert read(tiff(wide, photometric=0))[0, 0, 0] == 255


def test_a_transparent_value_of_sixteen_bits_shows_the_background():
    pixels = np.array([[[1000], [1001]]], np.uint16)
    found = read(png16(pixels, transparent=(1000,)), background=(9, 8, 7))
    assert found[0, 0].tolist() == [9, 8, 7]
    assert found[0, 1].tolist() == [4, 4, 4]
    colours = np.array([[[1000, 2, 3], [1000, 2, 4]]], np.uint16)
    found = read(png16(colours, transparent=(1000, 2, 3)), background=(9, 8, 7))
    assert found[0].tolist() == [[9, 8, 7], [4, 0, 0]]


def test_files_that_say_how_large_values_can_be_are_scaled_by_that():
    values = np.array([[0, 2048, 4095]], np.uint16)
    pgm = b"P5 3 1 4095\n" + values.astype(">u2").tobytes()
    assert read(pgm)[0, :, 0].tolist() == [0, 128, 255]
    assert read(pgm, range="16bit")[0, :, 0].tolist() == [0, 128, 255]
    assert read(pgm, range=(0.0, 8190.0))[0, :, 0].tolist() == [0, 64, 128]


def test_partly_transparent_pixels_of_sixteen_bits_are_mixed_with_the_background():
    pixels = np.array([[[4095, 0], [4095, 65535], [0, 32768]]], np.uint16)
    found = read(png16(pixels), range="12bit", background=(0, 0, 200))
    assert found[0].tolist() == [[0, 0, 200], [255, 255, 255], [0, 0, 100]]


def test_the_exif_orientation_turns_both_bytes(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO(png16(COLOUR[:20]))
    turned = read(png16(COLOUR[:20]), range="12bit")
    image = Image.open(stream)
    content = stream.getvalue()
    place = content.index(b"IDAT") - 4
    raw = exif.tobytes()[6:]
    import struct  # noqa: PLC0415
    import zlib  # noqa: PLC0415

    chunk = struct.pack(">I", len(raw)) + b"eXIf" + raw
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + raw))
    assert image.size == (SIDE, 20)
    found = read(content[:place] + chunk + content[place:], range="12bit")
    assert np.array_equal(found, np.rot90(turned, -1))


@pytest.mark.parametrize(
    "wrong", ["13bit", "", 12, [1], [1, 0], [0, float("nan")], [0, 1e39], ["0", "1"], [0, True]]
)
def test_other_ranges_are_refused(wrong):
    with pytest.raises(InputError, match=r"pixels.range must be one of 8bit, .*, or two numbers"):
        check_range(wrong)


@pytest.mark.parametrize("right", [None, "12bit", "data", [0, 4095], (-1.5, 2)])
def test_ranges_that_are_taken(right):
    assert check_range(right) == (tuple(right) if isinstance(right, list) else right)
