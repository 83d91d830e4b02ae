"""Fixtures: a bucket on a server that speaks S3, for the modules that import them."""

import zipfile
from types import SimpleNamespace

import pytest

from tests.data.servers import Proxy, serving


@pytest.fixture(scope="session")
def s3(tmp_path_factory, coloured):
    """A bucket `pets` on a server that speaks S3, with `coloured` as archive and as folder."""
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    Proxy.moto = server.get_host_and_port()
    keys = {"aws_access_key_id": "KEY", "aws_secret_access_key": "hushhush"}
    packed = tmp_path_factory.mktemp("packed") / "photos.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(coloured.rglob("*.png")):
            archive.write(path, path.relative_to(coloured))
    with serving(Proxy) as port:
        address = f"http://127.0.0.1:{port}"
        direct = "http://{}:{}".format(*Proxy.moto)  # the proxy never says 100 Continue
        client = boto3.client("s3", endpoint_url=direct, region_name="us-east-1", **keys)
        client.create_bucket(Bucket="pets")
        client.upload_file(str(packed), "pets", "photos.zip")
        for path in sorted((coloured / "val").rglob("*.png")):
            client.upload_file(str(path), "pets", f"val/{path.relative_to(coloured / 'val')}")
        yield SimpleNamespace(client=client, address=address, packed=packed)
    client.close()
    server.stop()


@pytest.fixture
def bucket(s3, monkeypatch, tmp_path):
    """The bucket, asked by this process as its environment says, into a cache of its own."""
    told = {"AWS_ENDPOINT_URL": s3.address, "AWS_ACCESS_KEY_ID": "KEY"}
    told |= {"AWS_SECRET_ACCESS_KEY": "hushhush", "AWS_DEFAULT_REGION": "us-east-1"}
    told |= {
        "AWS_MAX_ATTEMPTS": "1",
        "NOMMER_CACHE": str(tmp_path / "cache"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setattr(Proxy, "fault", "")
    monkeypatch.setattr(Proxy, "asked", [])
    yield s3
    Proxy.fault = ""
    s3.client.upload_file(str(s3.packed), "pets", "photos.zip")
