"""Data behind addresses: real servers on loopback, and what happens when they fail."""

import hashlib
import importlib
import json
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nommer.cli import main
from nommer.data import remote, remote_files
from nommer.data.remote import bring, local, where
from nommer.data.remote_cache import cache_limit
from nommer.data.sources import sources_of
from nommer.errors import InputError
from nommer.settings.addresses import address_of, is_address, pinned, written
from nommer.settings.pretrain import PretrainSettings
from nommer.training.data_places import with_data_here
from tests.data.servers import Files, Hub, Proxy, certificate, serving

ARCHIVE = "s3://pets/photos.zip"


def refusal(place):
    with pytest.raises(InputError) as told:
        bring(Path(place))
    sentence = str(told.value)
    assert "hushhush" not in sentence
    assert "\n" not in sentence
    return sentence


def copies(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").glob("*/manifest.json"))


@pytest.mark.parametrize("place", ["http://a.org/b.zip", "gcs://pets/a", "az://pets/a"])
def test_addresses_of_other_kinds_are_refused(place):
    with pytest.raises(InputError, match="is an address of a kind that is not fetched"):
        local(Path(place))


def test_pretraining_means_the_versions_of_all_its_data(bucket):
    more = ("s3://pets/val/red", "photos")
    settings = PretrainSettings(data=ARCHIVE, teacher="nommer_nano", more_data=more)
    here = with_data_here(settings)
    assert written(here.data) == f"{ARCHIVE}#version={bring(Path(ARCHIVE)).version}"
    red, photos = here.more_data
    assert written(red).startswith("s3://pets/val/red#version=")
    assert photos == Path("photos")
    Proxy.asked.clear()
    assert with_data_here(here) == here
    assert Proxy.asked == []


def test_addresses_are_known_as_text_and_as_paths():
    for text in ("s3://pets/a.zip", "hf://datasets/a/b", "gs://a/b", "https://a.org/b.zip"):
        assert is_address(text)
        assert is_address(Path(text))
        assert address_of(Path(text)) == text
        assert written(Path(text)) == text
    assert not any(map(is_address, ("photos", "/s3/a", "s3:", "http://a.org/b.zip", "c:/a")))
    assert written(pinned("s3://pets/a.zip", "12")) == "s3://pets/a.zip#version=12"
    assert written(Path("https://a.org/b.zip?signature=hushhush")) == "https://a.org/b.zip"


def test_an_archive_is_brought_once_and_read_where_it_lies(bucket, capsys):
    copy = bring(Path(ARCHIVE))
    assert copy.root.read_bytes() == bucket.packed.read_bytes()
    manifest = json.loads((copy.folder / "manifest.json").read_text())
    assert manifest["address"] == ARCHIVE
    (file,) = manifest["files"]
    assert file["sha256"] == hashlib.sha256(bucket.packed.read_bytes()).hexdigest()
    assert manifest["version"] == bucket.client.head_object(Bucket="pets", Key="photos.zip")[
        "ETag"
    ].strip('"')
    told = capsys.readouterr().err
    assert f"{ARCHIVE}: 1 file, " in told
    assert "brought into" in told
    Proxy.asked.clear()
    assert bring(Path(ARCHIVE)) == copy
    assert "nothing is fetched" in capsys.readouterr().err
    assert {method for method, *_ in Proxy.asked} == {"HEAD"}
    Proxy.asked.clear()
    assert local(pinned(ARCHIVE, copy.version)) == copy.root == where(pinned(ARCHIVE, copy.version))
    assert Proxy.asked == []


def test_a_folder_is_brought_with_all_its_files(bucket, coloured, digest):
    bucket.client.put_object(Bucket="pets", Key="val/.hidden", Body=b"x")
    copy = bring(Path("s3://pets/val"))
    bucket.client.delete_object(Bucket="pets", Key="val/.hidden")
    assert digest(copy.root) == digest(coloured / "val")


def test_images_to_answer_are_brought(bucket):
    found = list(sources_of("s3://pets/val/blue"))
    assert [path.name for path in found] == ["blue-0.png", "blue-1.png", "blue-2.png"]


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("s3://no-such-bucket/a.zip", "there is nothing of this name"),
        ("s3://pets/none.zip", "there is nothing of this name"),
        ("s3://KEY:hushhush@pets/photos.zip", "holds a name or password"),
    ],
)
def test_what_is_not_there_is_one_sentence(place, sentence, bucket, tmp_path):
    assert sentence in refusal(place)
    assert not (tmp_path / "cache").exists()


def test_a_single_file_that_is_no_archive_is_refused(bucket):
    bucket.client.put_object(Bucket="pets", Key="labels.csv", Body=b"path,label")
    assert "is a single file that is no archive" in refusal("s3://pets/labels.csv")


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_is_told_how_to_say_who_asks(status, bucket, monkeypatch, tmp_path):
    monkeypatch.setattr(Proxy, "fault", status)
    told = refusal(ARCHIVE)
    assert "access is refused" in told
    assert "AWS_ACCESS_KEY_ID" in told
    assert copies(tmp_path) == []


def test_a_wrong_key_is_refused(bucket):
    """By the server's own check of who asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
        assert "access is refused (403)" in refusal(ARCHIVE)


def test_without_credentials_it_is_said(bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    assert "no credentials were found" in refusal(ARCHIVE)
    public = {"Bucket": "pets", "Key": "photos.zip", "ACL": "public-read"}
    bucket.client.put_object_acl(**public)
    monkeypatch.setitem(importlib.import_module("fsspec.config").conf, "s3", {"anon": "true"})
    assert bring(Path(ARCHIVE)).root.read_bytes() == bucket.packed.read_bytes()


def test_a_server_that_dies_leaves_nothing_that_is_used_and_is_gone_on_with(
    bucket, monkeypatch, tmp_path
):
    content = bytes(range(256)) * 40
    bucket.client.put_object(Bucket="pets", Key="large.tar", Body=content)
    monkeypatch.setattr(remote_files, "_BLOCK", 4000)

    def dies():
        if sum(method == "GET" for method, *_ in Proxy.asked) == 1:
            monkeypatch.setattr(Proxy, "fault", "cut")

    monkeypatch.setattr(Proxy, "fault", staticmethod(dies))
    told = refusal("s3://pets/large.tar")
    assert "and the same command goes on from there" in told
    assert copies(tmp_path) == []
    monkeypatch.setattr(Proxy, "fault", "")
    Proxy.asked.clear()
    assert bring(Path("s3://pets/large.tar")).root.read_bytes() == content
    asked = [of for method, _, of, _ in Proxy.asked if method == "GET"]
    assert asked == ["bytes=4000-7999", "bytes=8000-10239"]


def test_without_a_server_an_older_copy_is_used_only_by_its_version(bucket, monkeypatch, capsys):
    copy = bring(Path(ARCHIVE))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    told = refusal(ARCHIVE)
    assert "the server does not answer" in told
    assert told.endswith(f"{ARCHIVE}#version={copy.version} means the copy that is here")
    assert bring(pinned(ARCHIVE, copy.version)) == copy
    assert "the server does not answer" in capsys.readouterr().err
    assert "#version" not in refusal("s3://pets/val")


def test_an_object_that_changed_is_another_version_and_both_stay(bucket):
    before = bring(Path(ARCHIVE))
    bucket.client.put_object(Bucket="pets", Key="photos.zip", Body=b"other")
    told = refusal(pinned(ARCHIVE, before.version))
    assert f"has changed: it is of version {hashlib.md5(b'other').hexdigest()} now" in told
    after = bring(Path(ARCHIVE))
    assert after.root.read_bytes() == b"other"
    assert before.root.read_bytes() == bucket.packed.read_bytes()


def test_an_object_that_changes_while_it_is_brought_is_not_used(bucket, monkeypatch, tmp_path):
    def changes():
        bucket.client.put_object(
            Bucket="pets", Key="photos.zip", Body=bucket.packed.read_bytes()[::-1]
        )

    monkeypatch.setattr(Proxy, "fault", staticmethod(changes))
    assert "was changed while it was brought" in refusal(ARCHIVE)
    assert copies(tmp_path) == []
    assert list((tmp_path / "cache").glob("*/content")) == []


def test_what_is_too_much_is_refused_before_anything_is_fetched(bucket, monkeypatch, tmp_path):
    monkeypatch.setenv("NOMMER_CACHE_LIMIT", "0.001MB")
    assert "over their limit of 1.0 kB" in refusal(ARCHIVE)
    monkeypatch.setenv("NOMMER_CACHE_LIMIT", "much")
    assert "expected a size such as" in refusal(ARCHIVE)
    monkeypatch.setenv("NOMMER_CACHE_LIMIT", "1.5 TB")
    assert cache_limit() == 1_500_000_000_000
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "1.0 kB are free" in refusal(ARCHIVE)
    assert not any(method == "GET" for method, *_ in Proxy.asked)


def test_a_copy_that_was_changed_is_refused(bucket):
    copy = bring(Path(ARCHIVE))
    copy.root.write_bytes(b"short")
    with pytest.raises(InputError, match="is not as it was brought"):
        local(pinned(ARCHIVE, copy.version))


def test_names_that_lead_elsewhere_are_refused(bucket):
    bucket.client.put_object(Bucket="pets", Key="odd/../../a.png", Body=b"x")
    assert "a name that no file can have here" in refusal("s3://pets/odd")


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(
        InputError, match=r"needs the package s3fs; pip install 'nommer\[remote\]'$"
    ):
        bring(Path(ARCHIVE))


@pytest.mark.slow
@pytest.mark.usefixtures("sketched")
def test_verbs_read_a_bucket_and_a_run_notices_a_change(bucket, train_options, tmp_path, capsys):
    run = tmp_path / "run"
    train = ["train", "--data", ARCHIVE, "--out", str(run), *train_options]
    assert main(["check", ARCHIVE, "--out", str(tmp_path / "check")]) == 0
    assert main(train) == 0
    version = bring(Path(ARCHIVE)).version
    assert f"data: {ARCHIVE}#version={version}\n" in (run / "config.yaml").read_text()
    assert json.loads((run / "result.json").read_text())["data"] == f"{ARCHIVE}#version={version}"
    assert not [path for path in files_in(run) if b"hushhush" in path.read_bytes()]
    bucket.client.put_object(Bucket="pets", Key="photos.zip", Body=b"other")
    capsys.readouterr()
    assert main([*train, "--epochs=3", "--resume"]) == 2
    assert (
        f"has changed: it is of version {hashlib.md5(b'other').hexdigest()} now, and {version}"
        in (capsys.readouterr().err)
    )
    Proxy.asked.clear()
    evaluate = ["evaluate", str(run), "--device=cpu", "--workers=0", f"--out={tmp_path / 'judged'}"]
    assert main(evaluate) == 0
    assert Proxy.asked == [], "the copy of the run's version is here"
    bucket.client.upload_file(str(bucket.packed), "pets", "photos.zip")
    assert main([*train, "--epochs=3", "--resume"]) == 0
    answer = ["predict", str(run), "s3://pets/val/blue", f"--out={tmp_path / 'out'}"]
    assert main([*answer, "--device=cpu", "--pictures=false"]) == 0
    assert len(json.loads((tmp_path / "out" / "result.json").read_text())) == 3


@pytest.fixture(scope="session")
def identity(tmp_path_factory):
    pytest.importorskip("aiohttp")
    pytest.importorskip("cryptography")
    return certificate(tmp_path_factory.mktemp("identity"))


@pytest.fixture
def web(identity, tmp_path, monkeypatch):
    """The folder of a server that is asked by https, and its address."""
    folder = tmp_path / "web"
    folder.mkdir()
    file, context = identity
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("NOMMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting(file), raising=False)
    monkeypatch.setattr(Files, "asked", [])
    handler = lambda *given: Files(*given, directory=str(folder))  # noqa: E731
    with serving(handler, context) as port:
        yield SimpleNamespace(folder=folder, address=f"https://127.0.0.1:{port}")


def trusting(file):
    return ssl.create_default_context(cafile=str(file))


@pytest.mark.parametrize("ranges", [True, False])
def test_an_archive_of_the_web_is_gone_on_with_where_the_server_can(ranges, web, monkeypatch):
    content = bytes(range(256)) * 8000
    (web.folder / "a.zip").write_bytes(content)
    monkeypatch.setattr(Files, "ranges", ranges)
    monkeypatch.setattr(Files, "limit", 1_500_000)
    place = f"{web.address}/a.zip?signature=hushhush"
    told = refusal(place)
    assert "and the same command goes on from there" in told
    monkeypatch.setattr(Files, "limit", None)
    copy = bring(Path(place))
    assert copy.root.read_bytes() == content
    assert Files.asked[-2][1].startswith("bytes=")
    assert not any(
        "hushhush" in str(p) or b"hushhush" in p.read_bytes() for p in files_in(copy.folder)
    )


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_the_web_does_not_give_is_one_sentence(web):
    assert "there is nothing of this name (404)" in refusal(f"{web.address}/none.zip")
    told = refusal(f"{web.address}/secret.zip?token=hushhush")
    assert "access is refused (403)" in told
    (web.folder / "page.html").write_text("<html>")
    assert "is a web page or a file that is no archive" in refusal(f"{web.address}/page.html")


@pytest.fixture
def hub(coloured, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("NOMMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Hub, "root", coloured)
    monkeypatch.setattr(Hub, "asked", [])
    with serving(Hub) as port:
        at = {"endpoint": f"http://127.0.0.1:{port}"}
        monkeypatch.setitem(pytest.importorskip("fsspec.config").conf, "hf", at)
        yield Hub


def test_a_folder_of_the_hub_is_brought_in_its_version(hub, coloured, digest):
    copy = bring(Path("hf://datasets/owner/pets/val"))
    assert digest(copy.root) == digest(coloured / "val")
    assert local(pinned("hf://datasets/owner/pets/val", copy.version)) == copy.root
    assert "there is nothing of this name (404)" in refusal("hf://datasets/owner/none")


def test_the_hub_that_is_not_there_is_one_sentence(monkeypatch, tmp_path):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("NOMMER_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "the server does not answer" in refusal("hf://datasets/nobody/pets")
    assert remote.has_copy(Path("hf://datasets/nobody/pets")) is False
