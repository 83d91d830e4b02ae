"""Files behind an address, listed and read by fsspec; what ails a server, in words.

Libraries find credentials where they always do (environment, profiles, ~/.netrc); nothing of them
passes through here.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from nommer.data.archive_kinds import is_hidden
from nommer.errors import InputError
from nommer.extras import require
from nommer.settings.addresses import without_query

EXTRA = "remote"
"""The extra that brings fsspec and its file systems."""

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub", "https": "aiohttp"}

_BLOCK = 8 << 20
"""Bytes that are asked for at a time."""

_SILENCE = 60
"""Longest silence of a server, in seconds."""

_VERSIONS = ("ETag", "etag", "blob_id", "md5Hash", "Content-MD5", "Last-Modified", "LastModified")
"""Entries of fsspec's descriptions that tell the content of a file; the first there is, is used."""

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; FSSPEC_S3_ANON=true for "
    "public buckets; AWS_ENDPOINT_URL for other servers than Amazon's",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS; FSSPEC_GS_TOKEN=anon for public buckets",
    "hf": "HF_TOKEN, or `hf auth login`",
    "https": "~/.netrc, or a signed address",
}
"""Ways to tell libraries who asks, by the kind of address."""


@dataclass(frozen=True)
class RemoteFile:
    """A file behind an address."""

    name: str
    """Below the address; "" for the address itself."""
    size: int
    version: str
    """Its ETag, or what else tells its content; "" where the server says nothing."""
    path: str
    """Its name in fsspec."""
    sha256: str | None = None
    """Checksum, where the server tells it."""


class RemoteError(Exception):
    """A server does not give what was asked for; the text says why.

    Args:
        why: in words.
        unreachable: there was no answer at all.
    """

    def __init__(self, why: str, *, unreachable: bool = False) -> None:
        super().__init__(why)
        self.unreachable = unreachable


class Remote:
    """A file or a folder behind an address.

    Args:
        address: with its query.

    Raises:
        InputError: a package is missing.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.scheme = address.partition(":")[0]
        feature = f"{without_query(address)}"
        fsspec = require("fsspec", EXTRA, feature)
        require(_PACKAGES[self.scheme], EXTRA, feature)
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs what it raises, at length
        with self._errors():
            self._fs = fsspec.filesystem(
                self.scheme, skip_instance_cache=True, use_listings_cache=False, **self._options()
            )

    def files(self) -> list[RemoteFile]:
        """Return all files, sorted by name; none that is hidden.

        Raises:
            RemoteError: the server does not say, or says what makes no sense.
        """
        with self._errors():
            self._fs.invalidate_cache()  # that of the hub keeps lists whatever is asked
            path = self._fs._strip_protocol(self.address)
            facts = self._fs.info(path)
            if facts["type"] != "directory":
                return [self._file("", facts)]
            found = self._fs.find(path, detail=True).values()
        top = PurePosixPath(facts["name"])
        files = [self._file(self._below(top, one["name"]), one) for one in found]
        visible = [one for one in files if one.name and not is_hidden(one.name)]
        if not visible:
            raise RemoteError("there are no files in it; expected a folder of files, or an archive")
        return sorted(visible, key=lambda one: one.name)

    def file(self, name: str) -> RemoteFile:
        """Ask for one file of a folder.

        Raises:
            RemoteError: there is none, or the server does not say.
        """
        with self._errors():
            path = f"{self._fs._strip_protocol(self.address)}/{name}"
            return self._file(name, self._fs.info(path))

    def blocks(self, file: RemoteFile, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield the content of a file from a place on: where each piece stands, and the piece.

        Raises:
            RemoteError: the server stops answering.
        """
        with self._errors():
            if self.scheme == "https":
                yield from self._streamed(file, start)
                return
            for begin in range(start, file.size, _BLOCK):
                end = min(begin + _BLOCK, file.size)
                yield begin, self._fs.cat_file(file.path, start=begin, end=end)

    def _streamed(self, file: RemoteFile, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield pieces of one answer; from the start where the server knows no ranges."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._fs.open(file.path, block_size=0, size=1, headers=headers) as stream:
            if stream.r.url.scheme != "https":
                raise RemoteError("it leads to an address that is not https")
            place = start if stream.r.status == 206 else 0
            while block := stream.read(_BLOCK):
                yield place, block
                place += len(block)

    def _file(self, name: str, facts: dict[str, Any]) -> RemoteFile:
        if facts.get("size") is None:
            raise RemoteError("the server does not tell its size; download it yourself")
        if str(facts.get("url", "https:")).startswith("http:"):
            raise RemoteError("it leads to an address that is not https")
        sha256 = (facts.get("lfs") or {}).get("sha256")
        told = sha256 or next((facts[key] for key in _VERSIONS if facts.get(key)), "")
        version = str(told).removeprefix("W/").strip('"')
        return RemoteFile(name, int(facts["size"]), version, facts["name"], sha256)

    def _below(self, top: PurePosixPath, path: str) -> str:
        """Return the name of a file below the address, which leads nowhere else.

        Raises:
            RemoteError: it would.
        """
        parts = PurePosixPath(path).parts[len(top.parts) :]
        if ".." in parts or any(sign in path for sign in "\\\0") or "//" in path:
            raise RemoteError(f"it holds {path!r}, a name that no file can have here")
        return "/".join(parts)

    def _options(self) -> dict[str, Any]:
        if self.scheme == "s3":
            patience = {"connect_timeout": 20, "read_timeout": _SILENCE}
            return {"config_kwargs": patience}
        if self.scheme == "https":
            aiohttp = require("aiohttp", EXTRA, without_query(self.address))
            limits = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=_SILENCE)
            return {"client_kwargs": {"timeout": limits, "trust_env": True}}
        return {}

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn whatever libraries raise into a `RemoteError`."""
        try:
            yield
        except (RemoteError, InputError, GeneratorExit):
            raise
        except Exception as error:
            raise _explained(error, self.scheme) from error


def _explained(error: Exception, scheme: str) -> RemoteError:
    """Return an error in words; no text of libraries, which may hold what is secret."""
    chain = list(_causes(error))
    kinds = {kind.__name__ for one in chain for kind in type(one).__mro__}
    status = next((found for one in chain if (found := _status(one))), None)
    if {"NoCredentialsError", "TokenRetrievalError", "DefaultCredentialsError"} & kinds:
        return RemoteError(f"no credentials were found ({_CREDENTIALS[scheme]})")
    if status in (401, 403) or "PermissionError" in kinds:
        code = f" ({status})" if status else ""
        return RemoteError(f"access is refused{code}: check who asks ({_CREDENTIALS[scheme]})")
    if {"OfflineModeIsEnabled", "TimeoutError", "ConnectError"} & kinds or any(
        "Connect" in kind or "Timeout" in kind for kind in kinds
    ):
        return RemoteError(
            "the server does not answer: there is no network, or it is down", unreachable=True
        )
    if status == 404 or "FileNotFoundError" in kinds:
        return RemoteError("there is nothing of this name (404)")
    told = f"the server answers {status}" if status else "it cannot be read"
    return RemoteError(f"{told} ({type(error).__name__})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _status(error: BaseException) -> int | None:
    """Return the status of HTTP that an error of aiohttp, botocore, gcsfs or httpx tells."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        found = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(error, "status", None) or getattr(answer, "status_code", None)
        found = found or getattr(error, "code", None)
    return found if isinstance(found, int) and 300 <= found < 600 else None
