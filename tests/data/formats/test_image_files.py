"""Image files by the names that annotations give them, and their sizes from their headers."""

from unicodedata import normalize

import pytest
from PIL import Image

from nommer.data.formats.image_files import UNKNOWN_SIZE, ImageFiles, upright_size, upright_sizes


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (9, 5)), (3, (9, 5)), (5, (5, 9)), (6, (5, 9)), (8, (5, 9))]
)
def test_sizes_are_those_of_the_turned_image(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("L", (9, 5)).save(tmp_path / "a.jpg", exif=exif)
    assert upright_size(tmp_path / "a.jpg") == size


def test_what_cannot_be_opened_has_no_size(tmp_path):
    Image.new("L", (9, 5)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    assert list(upright_sizes(paths).values()) == [(9, 5), UNKNOWN_SIZE, UNKNOWN_SIZE]


def test_nothing_outside_the_data_is_found(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.png").touch()
    images = ImageFiles(tmp_path / "data")
    for name in ("../secret.png", str(tmp_path / "secret.png")):
        assert images.find(tmp_path / "data/train.json", "train", name) is None
        assert images.missing(name).is_relative_to(tmp_path / "data")


def test_names_are_found_however_their_letters_are_encoded(tmp_path):
    for number, (stored, named) in enumerate((("NFD", "NFC"), ("NFC", "NFD"))):
        path = tmp_path / normalize(stored, f"caf\u00e9{number}.jpg")
        path.touch()
        images = ImageFiles(tmp_path)
        assert images.find(tmp_path / "train.json", "train", normalize(named, path.name)) == path
        assert path not in images.unused()


def test_files_that_nobody_names_are_known_where_others_are_used(tmp_path):
    for name in ("train/a.png", "train/b.png", "other/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images = ImageFiles(tmp_path)
    assert images.find(tmp_path / "train.json", "train", "a.png") == tmp_path / "train/a.png"
    assert images.unused() == [tmp_path / "train/b.png"]
