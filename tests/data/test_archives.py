"""Archives: members are read as files are, by many at once.

What is damaged or leads out is refused.
"""

import io
import multiprocessing
import os
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nommer.data import archive_kinds, tar_archives
from nommer.data.archives import find_archive, open_archive, read_bytes
from nommer.data.formats.find import find_task
from nommer.data.image_paths import direct_files, find_images, is_folder, sub_folders, visible_files
from nommer.data.images import ImageError, decode
from nommer.errors import InputError

ENDINGS = ["zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"]
CONTENT = {
    f"{folder}/{n}.bin": bytes([n]) * (1000 + n)
    for folder in ("a", "a/deep", "b")
    for n in range(20)
}

TAR_MODES = {".tar": "", ".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}


def pack(path, members):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, f"w:{TAR_MODES[path.suffix]}") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(params=ENDINGS)
def archive(request, tmp_path):
    return pack(tmp_path / f"data.{request.param}", CONTENT)


def read_all(paths):
    return [read_bytes(path) for path in paths]


def test_members_are_found_and_read_as_files_in_folders_are(archive):
    assert visible_files(archive) == sorted(archive / name for name in CONTENT)
    assert visible_files(archive / "a" / "deep") == sorted(
        archive / "a" / "deep" / f"{n}.bin" for n in range(20)
    )
    assert sub_folders(archive) == [archive / "a", archive / "b"]
    assert sub_folders(archive / "a") == [archive / "a" / "deep"]
    assert len(direct_files(archive / "a")) == 20
    assert is_folder(archive)
    assert is_folder(archive / "a" / "deep")
    assert not is_folder(archive / "a" / "1.bin")
    assert not is_folder(archive / "c")
    for name, content in CONTENT.items():
        assert read_bytes(archive / name) == content


def test_many_threads_and_processes_read_at_once(archive):
    paths = [archive / name for name in CONTENT] * 5
    expected = list(CONTENT.values()) * 5
    assert read_bytes(paths[0]) == expected[0], "open before the processes begin, as in training"
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read_bytes, paths)) == expected
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(read_all, [paths] * 6, chunksize=1) == [expected] * 6


def test_what_is_not_there(archive, tmp_path):
    for path in (archive / "a" / "none.bin", archive / "a", tmp_path / "none.zip" / "a"):
        with pytest.raises(OSError, match=r"No such file|Not a directory"):
            read_bytes(path)
    with pytest.raises(ImageError, match=r"none.png: file does not exist"):
        decode(archive / "none.png")
    with pytest.raises(ImageError, match=r"1.bin: not an image of a known format"):
        decode(archive / "a" / "1.bin")
    assert find_archive(tmp_path / "data") is None


def test_a_folder_called_like_an_archive_is_a_folder(tmp_path):
    (tmp_path / "data.zip" / "a").mkdir(parents=True)
    (tmp_path / "data.zip" / "a" / "1.bin").write_bytes(b"1")
    assert find_archive(tmp_path / "data.zip" / "a" / "1.bin") is None
    assert read_bytes(tmp_path / "data.zip" / "a" / "1.bin") == b"1"
    assert visible_files(tmp_path / "data.zip") == [tmp_path / "data.zip" / "a" / "1.bin"]


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/etc/out.png", ".."])
def test_names_that_lead_out_are_refused(tmp_path, ending, name):
    archive = pack(tmp_path / f"data.{ending}", {"a/1.png": b"", name: b"x"})
    with pytest.raises(
        InputError, match=r"holds '.*', a name that leads out of the archive; pack it again without"
    ):
        visible_files(archive)
    assert not (tmp_path.parent / "out.png").exists()


def test_dots_inside_names_are_resolved_and_hidden_files_are_not_seen(tmp_path):
    names = {
        "./a/1.png": b"1",
        "b/../c/2.png": b"2",
        ".git/3.png": b"",
        "a/._1.png": b"",
        "__MACOSX/a/1.png": b"",
    }
    for ending in ("zip", "tar"):
        archive = pack(tmp_path / f"data.{ending}", names)
        assert [path.relative_to(archive).as_posix() for path in visible_files(archive)] == [
            "a/1.png",
            "c/2.png",
        ]
        assert read_bytes(archive / "c" / "2.png") == b"2"


@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_archives_are_refused(tmp_path, ending):
    archive = pack(tmp_path / f"data.{ending}", {f"a/{n}.png": os.urandom(3000) for n in range(9)})
    whole = archive.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no archive at all", b""):
        archive.write_bytes(damaged)
        with pytest.raises(InputError, match=r"cannot be read as an archive: .*; pack it again"):
            visible_files(archive)


def test_a_damaged_member_is_one_bad_image(tmp_path):
    archive = pack(tmp_path / "data.zip", {"a/1.png": b"1" * 5000, "a/2.png": b"2" * 5000})
    with zipfile.ZipFile(archive) as opened:
        start = opened.getinfo("a/2.png").header_offset
    content = bytearray(archive.read_bytes())
    content[start + 40] ^= 255
    archive.write_bytes(content)
    assert read_bytes(archive / "a" / "1.png") == b"1" * 5000
    with pytest.raises(
        ImageError, match=r"a/2.png: cannot be decoded: the archive is damaged here"
    ):
        decode(archive / "a" / "2.png")


def test_encrypted_members_are_bad_images(tmp_path):
    archive = pack(tmp_path / "data.zip", {"1.png": b"1"})
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    archive.write_bytes(content)
    with pytest.raises(
        ImageError,
        match=r"1.png: cannot be decoded: encrypted; pack the archive again without a passw",
    ):
        decode(archive / "1.png")


def test_too_large_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_kinds, "LARGEST_MEMBER", 5000)
    monkeypatch.setattr(tar_archives, "LARGEST_IN_MEMORY", 100_000)
    members = {"small.png": b"", "large.png": bytes(200_000)}
    for ending in ("zip", "tar"):
        archive = pack(tmp_path / f"data.{ending}", members)
        with pytest.raises(
            ImageError, match=r"large.png: .*too large: 200,000 bytes, over the limit of 5,000"
        ):
            decode(archive / "large.png")
    with pytest.raises(
        InputError,
        match=r"decompresses to more than .* held in memory; unpack it, or pack it as a plain",
    ):
        visible_files(pack(tmp_path / "data.tar.gz", members))


def test_links_in_a_tar_lead_to_what_it_holds(tmp_path):
    path = tmp_path / "data.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("a/1.png")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"one"))
        for name, kind, target in (
            ("hard.png", tarfile.LNKTYPE, "a/1.png"),
            ("a/soft.png", tarfile.SYMTYPE, "1.png"),
            ("out.png", tarfile.SYMTYPE, "/etc/passwd"),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            archive.addfile(link)
    assert read_bytes(path / "hard.png") == read_bytes(path / "a" / "soft.png") == b"one"
    with pytest.raises(
        ImageError, match=r"out.png: cannot be decoded: a link to what the archive does not hold"
    ):
        decode(path / "out.png")


def test_an_archive_that_changes_is_read_anew(tmp_path):
    archive = pack(tmp_path / "data.zip", {"1.png": b"one"})
    assert read_bytes(archive / "1.png") == b"one"
    pack(archive, {"2.png": b"two!"})
    assert visible_files(archive) == [archive / "2.png"]
    assert open_archive(archive) is open_archive(archive)


def test_images_to_predict_may_lie_in_archives(tmp_path, noisy):
    stream = io.BytesIO()
    noisy((200, 0, 0)).save(stream, "PNG")
    archive = pack(
        tmp_path / "data.tar.gz",
        {"a/1.png": stream.getvalue(), "b/2.png": stream.getvalue(), "b/x": b""},
    )
    assert list(find_images([str(archive)])) == [archive / "a" / "1.png", archive / "b" / "2.png"]
    assert list(find_images([str(archive / "b")])) == [archive / "b" / "2.png"]
    assert list(find_images([str(archive / "b" / "2.png")])) == [Path(archive) / "b" / "2.png"]
    assert decode(archive / "b" / "2.png").size == (48, 40)


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_tars_put_one_behind_the_other_are_refused_not_read_in_part(tmp_path, ending):
    sound = pack(tmp_path / f"sound{ending}", CONTENT)
    (tmp_path / f"two{ending}").write_bytes(sound.read_bytes() * 2)
    with pytest.raises(
        InputError, match=rf"two{ending}: cannot be read as an archive: more follows behind its end"
    ):
        visible_files(tmp_path / f"two{ending}")
    assert visible_files(sound)


@pytest.mark.parametrize("harm", ["header", "cut in a header", "cut between files"])
def test_a_tar_that_ends_too_early_is_refused_not_read_in_part(tmp_path, harm):
    sound = pack(tmp_path / "sound.tar", CONTENT)
    with tarfile.open(sound) as tar:
        place = tar.getmembers()[30].offset
    content = bytearray(sound.read_bytes())
    if harm == "header":
        content[place + 150] ^= 0x55  # its checksum
    else:
        del content[place + (100 if harm == "cut in a header" else 0) :]
    (tmp_path / "harmed.tar").write_bytes(content)
    with pytest.raises(
        InputError, match=rf"harmed.tar: cannot be read as an archive: .*at byte {place:,}"
    ):
        visible_files(tmp_path / "harmed.tar")


@pytest.mark.parametrize("harm", ["version", "no name"])
def test_a_zip_whose_directory_makes_no_sense_is_refused(tmp_path, harm):
    sound = pack(tmp_path / "photos.zip", {"a": b"x"})
    content = bytearray(sound.read_bytes())
    place = content.index(b"PK\x01\x02")
    if harm == "version":
        content[place + 6] = 255
    else:
        content[place + 46] = 0
    sound.write_bytes(content)
    with pytest.raises(InputError, match=r"photos.zip: cannot be read as an archive: "):
        visible_files(sound)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("again", ["a/1.png", "./a/1.png"])
def test_a_name_that_is_there_twice_is_refused(tmp_path, ending, again):
    whole = tmp_path / f"data.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(whole, "w") as archive:
            for name in ("a/1.png", "a/2.png", again):
                archive.writestr(name, name)
    else:
        with tarfile.open(whole, f"w:{TAR_MODES[whole.suffix]}") as archive:
            for name in ("a/1.png", "a/2.png", again):
                archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(
        InputError, match=rf"data.{ending}: holds 'a/1.png' more than once; keep one"
    ):
        visible_files(whole)


def test_a_zip_with_backslashes_is_refused_in_words(tmp_path):
    archive = pack(tmp_path / "data.zip", {"cat\\1.png": b"1", "dog\\2.png": b"2"})
    with pytest.raises(
        InputError, match=r"holds cat\\1.png, a name with backslashes where zip has slashes"
    ):
        visible_files(archive)
    fine = pack(tmp_path / "fine.zip", {"cat/1.png": b"1", "cat/odd\\name.png": b"2"})
    assert len(visible_files(fine)) == 2


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_an_archive_without_files_is_said_to_be_so(tmp_path, ending):
    archive = pack(tmp_path / f"data.{ending}", {})
    with pytest.raises(InputError, match=rf"data.{ending}: holds no files; accepted layouts"):
        find_task(archive)


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_an_archive_that_may_not_be_read_is_said_to_be_so(tmp_path, ending, monkeypatch):
    archive = pack(tmp_path / f"data.{ending}", {"a/1.png": b"1"})
    if os.geteuid() == 0:  # who may read all: refused as others would be
        monkeypatch.setattr("io.open", refuse)
        monkeypatch.setattr("builtins.open", refuse)
        monkeypatch.setattr(Path, "open", refuse)
    else:
        archive.chmod(0)
    with pytest.raises(InputError, match=rf"data.{ending}: no permission to read this archive"):
        visible_files(archive)


def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")
