"""Bands beyond the colours, and TIFF files that promise more than they hold."""

import numpy as np
import pytest

from nommer.data.audit import read_image
from nommer.data.images import ImageError, decode
from tests.data.tiffs import tiff

SIDE = 32
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(40, 220, (SIDE, SIDE, 3)).astype(np.uint8)
INFRARED = RNG.integers(30, 120, (SIDE, SIDE, 1)).astype(np.uint8)
ALPHA = np.where(RNG.random((SIDE, SIDE, 1)) < 0.5, 0, 255).astype(np.uint8)


def read(content):
    return np.asarray(decode("x.tif", content=content))


@pytest.mark.parametrize("extra", [None, (0,), (2,)], ids=["unsaid", "unspecified", "as alpha"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_fourth_band_that_is_not_transparency_leaves_the_colours(tmp_path, extra, compressed):
    pixels = np.concatenate([COLOURS, INFRARED], -1)
    content = tiff(pixels, photometric=2, extra=extra, compressed=compressed)
    assert np.array_equal(read(content), COLOURS)
    (tmp_path / "x.tif").write_bytes(content)
    (issue,) = read_image(tmp_path / "x.tif", whole=True).remarks
    assert issue.what == "1 band more than colours and transparency"
    assert issue.done == "left out; the colours are used"
    assert issue.severity == "problem"


def test_more_bands_are_counted(tmp_path):
    pixels = np.concatenate([COLOURS, INFRARED, INFRARED], -1)
    (tmp_path / "x.tif").write_bytes(tiff(pixels, photometric=2, extra=(0, 0)))
    (issue,) = read_image(tmp_path / "x.tif", whole=True).remarks
    assert issue.what == "2 bands more than colours and transparency"


def test_real_transparency_of_a_tiff_shows_the_background(tmp_path):
    content = tiff(np.concatenate([COLOURS, ALPHA], -1), photometric=2, extra=(2,))
    clear = ALPHA[..., 0] == 0
    assert (read(content)[clear] == 255).all()
    assert np.array_equal(read(content)[~clear], COLOURS[~clear])
    (tmp_path / "x.tif").write_bytes(content)
    assert read_image(tmp_path / "x.tif", whole=True).remarks == ()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("rows_per_strip", [10, 1_000_000])
def test_rows_that_no_strip_holds_are_an_error_and_not_black(compressed, rows_per_strip):
    pixels = np.full((10, 100, 1), 128, np.uint8)
    content = tiff(pixels, height=1_000_000, rows_per_strip=rows_per_strip, compressed=compressed)
    with pytest.raises(ImageError, match=r"cut short|truncated|decoder error"):
        read(content)


def test_planes_of_sixteen_bits_are_refused_and_of_eight_read():
    wide = tiff(COLOURS.astype(np.uint16), photometric=2, planes=True)
    with pytest.raises(ImageError, match="a plane of 16 bits for each colour"):
        read(wide)
    assert np.array_equal(read(tiff(COLOURS, photometric=2, planes=True)), COLOURS)
