"""The decoder of masks.

Every way of writing labels gives the same labels, and what means nothing is refused.
"""

import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from nommer.data.images import ImageError
from nommer.data.masks import (
    IGNORE,
    MaskEncoding,
    check_size,
    pack,
    ranges,
    read_mask,
    read_pixels,
    unpack,
)

COLOURS = {(128, 64, 128): 0, (70, 130, 180): 1, (0, 0, 0): 2, (255, 255, 254): IGNORE}
PLAIN = MaskEncoding({0: 0, 1: 1, 2: 2, 255: IGNORE}, COLOURS)
BY_COLOUR = MaskEncoding({}, COLOURS, by_colour=True)


@pytest.fixture
def labels(make_labels):
    labels = make_labels(3)
    labels[:4, :7] = IGNORE
    return labels


def in_colour(labels):
    by_label = {label: colour for colour, label in COLOURS.items()}
    return np.array([by_label.get(label, (9, 9, 9)) for label in range(256)], np.uint8)[labels]


def in_palette(labels):
    image = Image.fromarray(labels, "P")
    image.putpalette([index ^ 0b1010101 for index in range(256) for _ in range(3)])
    return image


@pytest.mark.parametrize(
    "write",
    [
        Image.fromarray,
        in_palette,
        lambda labels: Image.fromarray(labels.astype(np.uint16)),
        lambda labels: Image.fromarray(labels.astype(np.int32)),
        lambda labels: Image.merge(
            "LA", [Image.fromarray(labels), Image.new("L", labels.shape[::-1], 255)]
        ),
        lambda labels: Image.fromarray(in_colour(labels)),
        lambda labels: Image.fromarray(in_colour(labels)).convert("RGBA"),
    ],
    ids=["grey", "palette", "16 bit", "32 bit", "opaque alpha", "colour", "opaque colour"],
)
@pytest.mark.parametrize("ending", ["png", "tif", "TIFF"])
def test_every_kind_of_file_gives_the_same_labels(tmp_path, labels, write, ending):
    image = write(labels)
    if image.mode == "I" and ending == "png":
        ending = "tif"  # Pillow writes 32-bit integers to PNG no more
    path = tmp_path / f"mask.{ending}"
    image.save(path)
    read = read_mask(path, PLAIN)
    assert read.dtype == np.uint8
    assert np.array_equal(read, labels)


def test_a_palette_says_nothing_unless_classes_are_told_by_colour_alone(tmp_path, labels):
    image = Image.fromarray(in_colour(labels)).quantize(8, dither=Image.Dither.NONE)
    image.save(tmp_path / "palette.png")
    with Image.open(tmp_path / "palette.png") as reopened:
        assert reopened.mode == "P"
        assert not np.array_equal(np.asarray(reopened), labels), "the indices are others"
    assert np.array_equal(read_mask(tmp_path / "palette.png", BY_COLOUR), labels)


def test_grey_masks_are_colours_where_classes_are_told_by_colour_alone(tmp_path):
    Image.fromarray(np.array([[0, 0], [0, 0]], np.uint8)).save(tmp_path / "black.png")
    assert (read_mask(tmp_path / "black.png", BY_COLOUR) == 2).all(), (
        "black is class 2, not value 0"
    )
    Image.fromarray(np.array([[0, 1]], np.uint8)).save(tmp_path / "numbers.png")
    with pytest.raises(
        ImageError,
        match=r"colour \(1, 1, 1\) \(1 pixel\) of no class; .*; "
        r"where masks hold numbers, give each class",
    ):
        read_mask(tmp_path / "numbers.png", BY_COLOUR)
    Image.fromarray(np.array([[0, 1]], np.uint16)).save(tmp_path / "wide.png")
    with pytest.raises(
        ImageError, match="holds 16-bit values, but the classes are told by colour: give each class"
    ):
        read_mask(tmp_path / "wide.png", BY_COLOUR)


def test_one_bit_masks_hold_0_and_1(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
    assert read_mask(tmp_path / "bits.png", PLAIN).tolist() == [[1, 0]]


def write_grey_png(path, values, bits):
    """A grey PNG of 2, 4 or 8 bits, written by hand.

    Pillow reads those of 2 and 4, but does not write them.
    """

    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    height, width = values.shape
    unpacked = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., -bits:]
    rows = b"".join(b"\0" + np.packbits(row.reshape(-1)).tobytes() for row in unpacked)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_grey_values_of_few_bits_are_those_in_the_file(tmp_path, bits):
    values = np.arange(5 * ((1 << bits) + 1)).reshape(5, -1) % (1 << bits)
    path = write_grey_png(tmp_path / "few.png", values, bits)
    with Image.open(path) as image:
        assert image.mode == "L"
        assert image.getextrema() == (0, 255), "Pillow stretches them"
    read = read_pixels(path)
    assert np.array_equal(read.values, values)
    assert read.values.dtype == np.uint8
    in_colour = read_pixels(path, by_colour=True)
    assert in_colour.name(int(in_colour.values[0, -1])) == str(
        (255 // ((1 << bits) - 1) * int(values[0, -1]),) * 3
    )


@pytest.mark.parametrize(
    "header", ["P2 3 2 3", "P2 3 2 200", "P2 3 2 255", "P2 3 2 1000", "P2 3 2 65535"]
)
def test_the_largest_value_in_the_header_of_a_pgm_changes_none(tmp_path, header):
    (tmp_path / "m.pgm").write_text(f"{header}\n0 1 2\n3 2 1\n")
    assert read_pixels(tmp_path / "m.pgm").values.tolist() == [[0, 1, 2], [3, 2, 1]]


def test_sixteen_bit_values_have_their_own_meaning(tmp_path):
    Image.fromarray(np.array([[7000, 65535, 300]], np.uint16)).save(tmp_path / "wide.png")
    encoding = MaskEncoding({7000: 4, 65535: IGNORE, 300: 254})
    assert read_mask(tmp_path / "wide.png", encoding).tolist() == [[4, IGNORE, 254]]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_mask_is_turned_as_images_are(tmp_path, labels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(labels).save(tmp_path / "turned.png", exif=exif)
    turned = {
        2: labels[:, ::-1],
        3: labels[::-1, ::-1],
        4: labels[::-1],
        5: labels.T,
        6: np.rot90(labels, -1),
        7: labels[::-1, ::-1].T,
        8: np.rot90(labels),
    }
    assert np.array_equal(read_mask(tmp_path / "turned.png", PLAIN), turned[orientation])


def save(array, path, **options):
    Image.fromarray(array).save(path, **options)
    return path


GREY = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda p: save(GREY, p / "m.jpg"),
            "is a JPEG, whose compression changes the values of a mask; save masks as",
        ),
        (
            lambda p: save(GREY.astype(np.float32), p / "m.tif"),
            "has pixels of mode F; masks are grey",
        ),
        (
            lambda p: save(np.full((2, 2), -1, np.int32), p / "m.tif"),
            "has values from -1 to -1; expected 0 to 65535",
        ),
        (
            lambda p: save(np.full((2, 2), 70_000, np.int32), p / "m.tif"),
            "has values from 70000 to 70000",
        ),
        (
            lambda p: save(np.zeros((2, 2, 4), np.uint8), p / "m.png"),
            "is transparent in places, and a class is not",
        ),
        (
            lambda p: save(np.full((2, 3), 9, np.uint8), p / "m.png"),
            "value 9 (6 pixels) of no class; expected 0-2, or",
        ),
        (
            lambda p: save(np.full((2, 3, 3), 9, np.uint8), p / "m.png"),
            "colour (9, 9, 9) (6 pixels) of no class; exp",
        ),
        (lambda p: p / "absent.png", "file does not exist"),
    ],
)
def test_what_is_no_mask_is_refused_with_its_name(tmp_path, write, message):
    path = write(tmp_path)
    with pytest.raises(ImageError) as caught:
        read_mask(path, PLAIN)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_file_that_is_cut_is_refused(tmp_path, labels):
    Image.fromarray(np.random.default_rng(0).integers(0, 3, (64, 64), np.uint8)).save(
        tmp_path / "cut.png"
    )
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"cut.png: cannot be decoded: .*truncated"):
        read_mask(tmp_path / "cut.png", PLAIN)


def test_unknown_values_are_named_with_their_pixels_the_most_frequent_first(tmp_path):
    values = np.zeros((10, 10), np.uint8)
    values[0, :3], values[1, 0], values[2, :] = 13, 14, 200
    with pytest.raises(ImageError) as caught:
        read_mask(save(values, tmp_path / "m.png"), PLAIN)
    assert caught.value.reason == (
        "values 200 (10 pixels), 13 (3 pixels), 14 (1 pixel) of no class; expected 0-2, or 255 to "
        "be ignored"
    )
    with pytest.raises(
        ImageError, match=r"10 \(1 pixel\), \.\.\. 97 in all of no class; expected 0-2$"
    ):
        read_mask(
            save(np.arange(100, dtype=np.uint8)[None], tmp_path / "m.png"),
            MaskEncoding({0: 0, 1: 1, 2: 2}),
        )


def test_a_mask_in_colour_needs_colours(tmp_path):
    path = save(np.zeros((2, 2, 3), np.uint8), tmp_path / "m.png")
    with pytest.raises(
        ImageError,
        match="is in colour, but the classes have no colours: list each class with its color",
    ):
        read_mask(path, MaskEncoding({0: 0, 1: 1}))


def test_an_encoding_travels_to_other_processes(tmp_path, labels):
    path = save(in_colour(labels), tmp_path / "m.png")
    read_mask(path, PLAIN)
    received = pickle.loads(pickle.dumps(PLAIN))
    assert received == PLAIN
    assert np.array_equal(read_mask(path, received), labels)


@given(
    table=st.dictionaries(st.integers(0, 65_535), st.integers(0, 255), min_size=1, max_size=30),
    values=arrays(
        np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 65_535)
    ),
)
def test_labels_are_looked_up_value_by_value(tmp_path_factory, table, values):
    values.flat[0] = next(iter(table))
    path = save(values, tmp_path_factory.mktemp("masks") / "m.png")
    expected = [[table.get(value, -1) for value in row] for row in values.tolist()]
    if any(label < 0 for row in expected for label in row):
        with pytest.raises(ImageError, match="of no class"):
            read_mask(path, MaskEncoding(table))
    else:
        assert read_mask(path, MaskEncoding(table)).tolist() == expected


colours = st.tuples(*[st.integers(0, 255)] * 3)


@given(table=st.dictionaries(colours, st.integers(0, 255), min_size=1, max_size=30), data=st.data())
def test_labels_are_looked_up_colour_by_colour(tmp_path_factory, table, data):
    chosen = data.draw(st.lists(st.sampled_from(sorted(table)) | colours, min_size=1, max_size=20))
    path = save(np.array([chosen], np.uint8), tmp_path_factory.mktemp("masks") / "m.png")
    if all(colour in table for colour in chosen):
        assert read_mask(path, MaskEncoding({}, table)).tolist() == [
            [table[colour] for colour in chosen]
        ]
    else:
        with pytest.raises(ImageError, match="of no class"):
            read_mask(path, MaskEncoding({}, table))


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_end_in_labels_or_an_image_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("masks") / "m.png"
    path.write_bytes(content)
    with pytest.raises(ImageError):
        read_mask(path, PLAIN)


@given(colours)
def test_unpack_inverts_pack(colour):
    assert unpack(pack(colour)) == colour
    assert 0 <= pack(colour) < 1 << 24


@given(st.sets(st.integers(0, 60), min_size=1))
def test_ranges_name_exactly_the_numbers(numbers):
    named = set()
    for run in ranges(numbers).split(", "):
        first, _, last = run.partition("-")
        named.update(range(int(first), int(last or first) + 1))
    assert named == numbers


def test_sizes_are_width_times_height(tmp_path):
    check_size(tmp_path, (3, 5), (5, 3))
    with pytest.raises(
        ImageError, match=r"is 5 x 3 pixels, its image 3 x 5; both must be the same; turn it$"
    ):
        check_size(tmp_path, (3, 5), (3, 5), hint="; turn it")


def test_pixels_are_read_before_their_meaning_is_known(tmp_path, labels):
    assert np.array_equal(read_pixels(save(labels + 60, tmp_path / "m.png")).values, labels + 60)
    pixels = read_pixels(save(in_colour(labels), tmp_path / "m.png"))
    assert pixels.in_colour
    assert pixels.name(int(pixels.values[0, 0])) == "(255, 255, 254)"
