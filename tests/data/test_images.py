"""The one decoder: every kind of file that is read, and every kind that is refused."""

import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from nommer.data.image_paths import (
    EXTENSIONS,
    find_images,
    holds_images,
    sub_folders,
    visible_files,
)
from nommer.data.images import MAX_PIXELS, ImageError, decode
from nommer.data.sources import open_any
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.settings.pixel_range import Reading


def pixels(image):
    return np.asarray(image).astype(int)


def smooth(width=48, height=40):
    """A picture that lossy formats keep well: colours change slowly."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = [rows * 255 // height, columns * 255 // width, np.full_like(rows, 90)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


FORMATS = {
    "a.jpg": {"quality": 95, "subsampling": 0},
    "progressive.jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0, "progressive": True},
    "a.png": {},
    "a.gif": {},
    "a.bmp": {},
    "a.tif": {},
    "lzw.tiff": {"compression": "tiff_lzw"},
    "a.webp": {"quality": 95},
    "lossless.webp": {"lossless": True},
    "a.ppm": {},
    "a.jp2": {},
    "a.avif": {"quality": 95},
}
LOSSLESS = {"a.png", "a.bmp", "a.tif", "lzw.tiff", "lossless.webp", "a.ppm", "a.jp2"}


@pytest.mark.parametrize("name", FORMATS)
def test_reads_every_usual_format_as_rgb(tmp_path, name):
    original = smooth()
    original.save(tmp_path / name, **FORMATS[name])
    decoded = decode(tmp_path / name)
    assert decoded.mode == "RGB"
    assert decoded.size == original.size
    difference = np.abs(pixels(decoded) - pixels(original))
    assert difference.max() == 0 if name in LOSSLESS else difference.mean() < 6


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_anywhere_is_refused_or_has_lost_no_pixel(tmp_path, name):
    path = tmp_path / name
    smooth().save(path, **FORMATS[name])
    whole, content = pixels(decode(path)), path.read_bytes()
    cuts = {
        0,
        1,
        4,
        12,
        40,
        100,
        *(len(content) * part // 10 for part in range(1, 10)),
        len(content) - 20,
    }
    refused = 0
    for cut in cuts:
        path.write_bytes(content[:cut])
        try:
            decoded = decode(path)
        except ImageError:
            refused += 1
        else:
            assert np.array_equal(pixels(decoded), whole), (
                f"silently decoded after {cut} of {len(content)} bytes"
            )
    assert refused >= len(cuts) - 2


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, np.rot90),
    ],
)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_turns_the_image_as_its_exif_orientation_says(tmp_path, name, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = smooth()
    stored.save(tmp_path / name, **FORMATS[name] | {"exif": exif})
    assert np.abs(pixels(decode(tmp_path / name)) - turn(pixels(stored))).mean() < 4


DAMAGED_EXIF = {
    "garbage": b"Exif\0\0garbage",
    "cut short": b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01",
    "orientation 99": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
    "orientation as text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0\x36"
    b"\0\0\0\0\0\0\0",
    "nothing": b"Exif\0\0",
}


@pytest.mark.filterwarnings(
    "ignore:Corrupt EXIF data:UserWarning"
)  # Pillow's word to whoever reads such a file
@pytest.mark.parametrize("exif", DAMAGED_EXIF.values(), ids=DAMAGED_EXIF.keys())
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_damaged_exif_data_costs_no_image(tmp_path, name, exif):
    smooth().save(tmp_path / name, **FORMATS[name] | {"exif": exif})
    decoded = decode(tmp_path / name)
    assert np.abs(pixels(decoded) - pixels(smooth())).mean() < 4


def test_cmyk_jpeg_has_its_colours(tmp_path):
    patches = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 250), (10, 10, 10)]
    picture = Image.new("RGB", (16 * len(patches), 16))
    for index, colour in enumerate(patches):
        picture.paste(colour, (16 * index, 0, 16 * index + 16, 16))
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    with Image.open(tmp_path / "cmyk.jpg") as stored:
        assert stored.mode == "CMYK"
    decoded = decode(tmp_path / "cmyk.jpg")
    found = [decoded.getpixel((16 * index + 8, 8)) for index in range(len(patches))]
    assert np.abs(np.array(found) - np.array(patches)).max() < 20


def test_transparency_shows_the_declared_colour(tmp_path):
    rgba = Image.new("RGBA", (2, 1))
    rgba.putpixel((0, 0), (200, 0, 0, 255))
    rgba.putpixel((1, 0), (200, 0, 0, 0))
    rgba.save(tmp_path / "rgba.png")
    grey = Image.new("LA", (2, 1))
    grey.putpixel((0, 0), (80, 255))
    grey.putpixel((1, 0), (80, 0))
    grey.save(tmp_path / "la.png")
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 0, 0, 200])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=1)
    palette.save(tmp_path / "palette.gif", transparency=1)
    Image.fromarray(np.array([[[200, 0, 0], [1, 2, 3]]], np.uint8)).save(
        tmp_path / "key.png", transparency=(1, 2, 3)
    )
    half = Image.new("RGBA", (1, 1), (200, 0, 0, 128))
    half.save(tmp_path / "half.png")
    for name, solid in {
        "rgba.png": 200,
        "palette.png": 200,
        "palette.gif": 200,
        "key.png": 200,
    }.items():
        decoded = decode(tmp_path / name, Reading((0, 255, 0)))
        assert pixels(decoded).tolist() == [[[solid, 0, 0], [0, 255, 0]]], name
    assert pixels(decode(tmp_path / "la.png", Reading((0, 255, 0)))).tolist() == [
        [[80, 80, 80], [0, 255, 0]]
    ]
    assert pixels(decode(tmp_path / "la.png")).tolist() == [[[80, 80, 80], [255, 255, 255]]]
    assert (
        np.abs(pixels(decode(tmp_path / "half.png", Reading((0, 0, 100)))) - [100, 0, 50]).max()
        <= 1
    )


@pytest.mark.parametrize("name", ["grey.png", "grey.tif", "grey.pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    if name == "grey.pgm":
        (tmp_path / name).write_bytes(b"P5 4 1 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(tmp_path / name)
    decoded = pixels(decode(tmp_path / name))
    assert decoded.shape == (1, 4, 3)
    assert decoded[0, :, 0].tolist() == [0, 1, 128, 255]
    assert np.array_equal(decoded[..., 0], decoded[..., 2])


def test_one_bit_images_are_black_and_white(tmp_path):
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "bits.png")
    assert pixels(decode(tmp_path / "bits.png")).tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.array([[0.5, 3e5]], np.float32), "float pixels"),
        (np.array([[0, 70_000]], np.int32), "integers from 0 to 70000"),
    ],
)
def test_pixels_of_unknown_range_are_refused(tmp_path, values, found):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=f"a.tif: {found}"):
        decode(tmp_path / "a.tif")


def test_of_an_animation_the_first_frame_is_read(tmp_path, noisy):
    first, second = noisy((200, 30, 30)), noisy((30, 30, 200))
    first.save(tmp_path / "a.webp", save_all=True, append_images=[second], lossless=True)
    assert np.array_equal(pixels(decode(tmp_path / "a.webp")), pixels(first))


def unreadable_by_permission(path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    smooth().save(path)
    monkeypatch.setattr(Image, "open", refuse)


def test_files_that_are_no_images_are_refused_in_their_own_words(tmp_path, monkeypatch):
    (tmp_path / "text.jpg").write_text("this is no picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    for name, reason in {
        "text.jpg": "not an image of a known format",
        "empty.png": "not an image of a known format",
        "missing.jpg": "file does not exist",
        "folder.png": "is a folder",
    }.items():
        with pytest.raises(ImageError) as caught:
            decode(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {reason}")
    unreadable_by_permission(tmp_path / "locked.png", monkeypatch)
    with pytest.raises(ImageError, match=r"locked.png: no permission to read the file"):
        decode(tmp_path / "locked.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_a_file_without_read_permission_is_refused(tmp_path):
    smooth().save(tmp_path / "locked.png")
    (tmp_path / "locked.png").chmod(0)
    with pytest.raises(ImageError, match="no permission to read the file"):
        decode(tmp_path / "locked.png")


@pytest.mark.parametrize("kind", ["ICO", "PCX", "TGA", "EPS", "PDF", "SGI"])
def test_formats_outside_the_list_are_refused_whatever_the_name_says(tmp_path, kind):
    smooth(32, 32).save(tmp_path / "disguised.png", format=kind)
    with pytest.raises(ImageError, match="not an image of a known format"):
        decode(tmp_path / "disguised.png")


def png_that_claims(width, height):
    """A valid PNG header for any size, without pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def test_a_bomb_is_refused_before_it_takes_memory(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_that_claims(30_000, 30_000))
    tracemalloc.start()
    with pytest.raises(
        ImageError, match=f"bomb.png: too large: over the limit of {MAX_PIXELS:,} pixels"
    ):
        decode(tmp_path / "bomb.png")
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_an_image_between_pillows_warning_and_the_limit_raises_no_warning(tmp_path):
    (tmp_path / "large.png").write_bytes(png_that_claims(10_000, 10_000))
    with pytest.raises(
        ImageError, match="cannot be decoded"
    ):  # for lack of pixels, not for a warning
        decode(tmp_path / "large.png")


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (31, 33), (2, 3)])
def test_extreme_shapes_become_an_input_at_little_cost(tmp_path, size):
    noisy = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "a.png")
    tracemalloc.start()
    prepared = Preprocessing(image_size=224)(decode(tmp_path / "a.png"))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert prepared.shape == (3, 224, 224)
    assert prepared.isfinite().all()


@pytest.mark.parametrize(
    "name", ["with space.png", "Käfer.png", "猫 🐈.png", "a[1].png", "q?.png", "100%.png"]
)
def test_any_file_name_is_read_and_found(tmp_path, name):
    smooth().save(tmp_path / name)
    assert decode(tmp_path / name).size == (48, 40)
    assert list(find_images([str(tmp_path / name)])) == [tmp_path / name]


def test_open_any_takes_paths_images_and_arrays(tmp_path):
    picture = smooth()
    picture.save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), picture, np.asarray(picture)):
        assert np.array_equal(pixels(open_any(source)), pixels(picture))
    assert pixels(open_any(picture.convert("L"))).shape == (40, 48, 3)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_open_any_refuses_arrays_of_another_shape_or_type(array):
    with pytest.raises(ImageError, match=r"expected \(H, W, 3\) uint8, got"):
        open_any(array)


def test_open_any_refuses_a_pil_image_whose_file_is_cut():
    stream = io.BytesIO()
    smooth().save(stream, "JPEG")
    with (
        Image.open(io.BytesIO(stream.getvalue()[:700])) as cut,
        pytest.raises(ImageError, match="truncated"),
    ):
        open_any(cut)


class TestFindImages:
    @pytest.fixture
    def tree(self, tmp_path):
        for name in (
            "b.png",
            "a.JPG",
            "sub/c.webp",
            "sub/deep/d.gif",
            ".hidden.png",
            ".cache/e.png",
            "notes.txt",
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    def names(self, tree, *patterns):
        return [
            path.relative_to(tree).as_posix()
            for path in find_images([str(tree / p) for p in patterns])
        ]

    def test_folders_are_searched_deeply_without_hidden_files_and_other_files(self, tree):
        assert self.names(tree, ".") == ["a.JPG", "b.png", "sub/c.webp", "sub/deep/d.gif"]

    def test_globs_match_as_a_shell_does(self, tree):
        assert self.names(tree, "*.png") == ["b.png"]
        assert self.names(tree, "**/*.gif") == ["sub/deep/d.gif"]
        assert self.names(tree, "[ab].*") == ["a.JPG", "b.png"]

    def test_relative_patterns_start_in_the_current_folder(self, tree, monkeypatch):
        monkeypatch.chdir(tree / "sub")
        assert [str(path) for path in find_images(["*.webp", "../b.*"])] == ["c.webp", "../b.png"]

    def test_each_file_comes_once_in_the_order_asked_for(self, tree):
        assert self.names(tree, "b.png", "sub", "*.png", "sub/c.webp") == [
            "b.png",
            "sub/c.webp",
            "sub/deep/d.gif",
        ]

    def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(self, tree):
        (tree / "x[1].png").touch()
        (tree / "x1.png").touch()
        assert self.names(tree, "x[1].png") == ["x[1].png"]

    def test_a_file_that_does_not_exist_is_left_to_the_decoder(self, tree):
        assert self.names(tree, "nothing.png") == ["nothing.png"]

    def test_a_link_to_nowhere_is_found_so_that_somebody_complains(self, tree):
        (tree / "sub" / "link.png").symlink_to(tree / "gone.png")
        assert "sub/link.png" in self.names(tree, "sub")

    def test_linked_folders_are_searched_too_each_file_once(self, tree):
        for name in ("one", "two"):
            (tree / "links" / name).parent.mkdir(exist_ok=True)
            (tree / "links" / name).symlink_to(tree / "sub")
        assert self.names(tree, "links") == ["links/one/c.webp", "links/one/deep/d.gif"]
        assert holds_images(tree / "links")

    def test_a_file_is_found_by_its_own_path_rather_than_by_a_link(self, tree):
        (tree / "sub" / "a link").symlink_to(tree / "sub" / "deep")
        assert self.names(tree, "sub") == ["sub/c.webp", "sub/deep/d.gif"]

    def test_many_ways_through_links_are_one(self, tmp_path):
        for level in range(23):
            (tmp_path / "all" / f"{level}").mkdir(parents=True)
            for name in ("a", "b"):
                (tmp_path / "all" / f"{level}" / name).symlink_to(tmp_path / "all" / f"{level + 1}")
        (tmp_path / "all" / "23").mkdir()
        (tmp_path / "all" / "23" / "x.png").touch()
        (tmp_path / "in").symlink_to(tmp_path / "all" / "0")
        assert [path.name for path in visible_files(tmp_path / "in")] == ["x.png"]
        assert [path.name for path in find_images([f"{tmp_path}/in/**/*.png"])] == ["x.png"]

    def test_what_is_no_file_is_found_and_refused_when_it_is_read(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "device.png").symlink_to("/dev/zero")
        (tmp_path / "folder.png").mkdir()
        (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
        found = {path.name: path for path in visible_files(tmp_path)}
        assert sorted(found) == ["device.png", "folder.png", "loop.png", "pipe.png"]
        for name, reason in {
            "pipe.png": r"is a named pipe \(FIFO\), not a file",
            "device.png": "is a device, not a file",
            "folder.png": "is a folder, not a file",
            "loop.png": "cannot be decoded: .*symbolic links",
        }.items():
            with pytest.raises(ImageError, match=f"{name}: {reason}"):
                decode(found[name])

    @pytest.mark.parametrize("name", ["a" * 300 + ".png", "nul\0.png", "\udcff.png", "*" * 300])
    def test_names_that_no_file_can_have_are_told_when_they_are_read(self, tmp_path, name):
        if "*" in name:
            with pytest.raises(InputError, match="the pattern matches no file"):
                list(find_images([str(tmp_path / name)]))
            return
        assert list(find_images([str(tmp_path / name)])) == [tmp_path / name]
        with pytest.raises(ImageError):
            decode(tmp_path / name)

    @pytest.mark.parametrize("target", [".", "sub", "..", "sub/deep/up"])
    def test_links_in_a_circle_end(self, tree, target):
        (tree / "sub" / "deep" / "up").symlink_to(tree / target)
        assert [path.name for path in visible_files(tree / "sub")][:2] == ["c.webp", "d.gif"]
        assert {path.name for path in visible_files(tree / "sub")} <= {"c.webp", "d.gif", "up"}

    def test_links_to_and_fro_end(self, tree):
        for here, there in (("left", "right"), ("right", "left")):
            (tree / here).mkdir()
            (tree / here / f"{here}.png").touch()
            (tree / here / "other").symlink_to(tree / there)
        assert self.names(tree, "left") == ["left/left.png", "left/other/right.png"]

    @pytest.mark.parametrize(
        ("pattern", "message"), [("empty", "no images in this folder"), ("*.bmp", "matches no")]
    )
    def test_what_names_nothing_is_refused(self, tree, pattern, message):
        (tree / "empty").mkdir()
        with pytest.raises(InputError, match=message):
            self.names(tree, pattern)


def test_the_endings_cover_the_usual_formats():
    usual = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}
    assert usual <= EXTENSIONS


def test_sub_folders_are_the_visible_folders_sorted(tmp_path):
    for name in ("b", "a", ".git", "C"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    assert [folder.name for folder in sub_folders(tmp_path)] == ["C", "a", "b", "link"]
    with pytest.raises(InputError, match="nowhere: this folder cannot be read: No such file"):
        sub_folders(tmp_path / "nowhere")
