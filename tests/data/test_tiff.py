"""Bands beyond the colours, and TIFF files that promise more than they hold."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from nommer.data.audit import audit, read_image
from nommer.data.formats.folders import read_class_folders
from nommer.data.images import ImageError, decode
from nommer.settings.pixel_range import Reading
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


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
"""Turns that each orientation of a TIFF asks for, by the standard (tag 274)."""


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "I", "F"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_orientation_turns_every_kind_of_pixel_alike(tmp_path, mode, packed):
    """Pillow maps files that are not compressed into memory with their sides swapped."""
    pixels = RNG.integers(0, 256, (4, 6, 3) if mode == "RGB" else (4, 6))
    stored = pixels.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}.get(mode, np.uint8))
    for orientation, turned in TURNS.items():
        options = {"compression": "tiff_lzw"} if packed else {}
        Image.fromarray(stored).save(tmp_path / "x.tif", tiffinfo={274: orientation}, **options)
        shown = turned(np.broadcast_to(np.atleast_3d(pixels), (4, 6, 3)))
        for content in (None, (tmp_path / "x.tif").read_bytes()):
            decoded = decode(tmp_path / "x.tif", Reading(range="8bit"), content=content)
            assert np.array_equal(np.asarray(decoded), shown)
        assert read_image(tmp_path / "x.tif", whole=False).size == (6, 4)


def test_signed_values_of_eight_bits_are_refused():
    with pytest.raises(ImageError, match="signed values of 8 bits: save it as unsigned ones"):
        read(tiff(INFRARED.astype(np.int8)))


def test_pages_that_are_not_read_are_a_problem_but_for_smaller_copies(tmp_path):
    pages = [Image.fromarray(COLOURS[: 8 * n]) for n in (4, 3, 2, 1)]
    for kind, lost in ((0, "2-4"), (1, None)):
        for page in pages[1:]:
            page.encoderinfo = {"tiffinfo": {254: kind}}
        pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
        remarks = read_image(tmp_path / "x.tif", whole=True).remarks
        found = [(issue.what, issue.done, issue.severity) for issue in remarks]
        told = ("4 frames or pages", f"the first one is used, {lost} not", "problem")
        assert found == ([told] if lost else [])
    assert read_image(tmp_path / "x.tif", whole=True).error is None


def test_lab_is_shown_in_colour(tmp_path):
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    plain = Image.new("RGB", (8, 8), (180, 90, 60))
    transform = ImageCms.buildTransform(srgb, lab, "RGB", "LAB")
    ImageCms.applyTransform(plain, transform).save(tmp_path / "x.tif")
    decoded = np.asarray(decode(tmp_path / "x.tif")).astype(int)
    assert np.abs(decoded - np.asarray(plain)).max() <= 3


def profile_of(primaries):
    """An ICC profile that holds three primaries, its other values those of sRGB."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for entry in range(struct.unpack(">I", content[128:132])[0]):
        start = 132 + 12 * entry
        tag, place, _ = struct.unpack(">4sII", content[start : start + 12])
        if tag in primaries:
            values = [round(value * 65536) for value in primaries[tag]]
            content[place + 8 : place + 20] = struct.pack(">3i", *values)
    return bytes(content)


WIDE = {
    b"rXYZ": (0.609, 0.311, 0.019),
    b"gXYZ": (0.205, 0.626, 0.061),
    b"bXYZ": (0.149, 0.063, 0.745),
}
"""As of Adobe RGB (1998)."""


@pytest.mark.parametrize(("primaries", "is_wide"), [({}, False), (WIDE, True)])
def test_a_profile_of_other_colours_is_told_and_not_applied(tmp_path, primaries, is_wide):
    image = Image.fromarray(COLOURS)
    for name in ("x.png", "x.tif"):
        image.save(tmp_path / name, icc_profile=profile_of(primaries))
        remarks = read_image(tmp_path / name, whole=True).remarks
        assert [issue.done for issue in remarks] == (
            ["its numbers are taken as those of sRGB"] if is_wide else []
        )
        assert np.array_equal(np.asarray(decode(tmp_path / name)), COLOURS)
    image.save(tmp_path / "y.png", icc_profile=b"no profile" * 100)
    assert not read_image(tmp_path / "y.png", whole=True).remarks


@pytest.mark.parametrize(("wide", "told"), [(0, 0), (2, 1), (4, 0)])
def test_profiles_of_a_part_of_the_images_are_a_problem(tmp_path, wide, told):
    for number in range(4):
        folder = tmp_path / ("red", "blue")[number % 2]
        folder.mkdir(exist_ok=True)
        profile = {"icc_profile": profile_of(WIDE)} if number < wide else {}
        Image.fromarray(COLOURS + number).save(folder / f"{number}.png", **profile)
    issues = audit(read_class_folders(tmp_path)).data.issues
    problems = [issue.what for issue in issues if issue.severity == "problem"]
    assert (
        sum(f"{wide} of 4 images have colours of the profile" in what for what in problems) == told
    )
    assert len(problems) == told


def test_a_profile_of_inks_is_told(tmp_path):
    image = Image.fromarray(COLOURS).convert("CMYK")
    image.save(tmp_path / "x.tif", icc_profile=profile_of({}))
    (issue,) = read_image(tmp_path / "x.tif", whole=True).remarks
    assert "made RGB by the plain formula, not by its profile" in issue.done
