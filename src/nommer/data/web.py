"""Images behind https addresses, fetched only where that was asked for."""

import ssl
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request

from nommer.data.images import ImageError
from nommer.errors import InputError

LARGEST_DOWNLOAD = 1 << 26
"""Bytes of a file that is fetched; 64 MiB."""

_SECONDS = 30
"""Longest silence of a server."""


def is_url(text: str) -> bool:
    """Return True for the address of something on the web, which no file is called."""
    return text.lower().startswith(("https://", "http://", "ftp://"))


class WebImage:
    """An image file behind an address; it is fetched when it is read first, and kept.

    Args:
        address: begins with https://; servers may lead to other https addresses only.

    Raises:
        InputError: another kind of address.
    """

    def __init__(self, address: str) -> None:
        if urlsplit(address).scheme.lower() != "https":
            raise InputError(f"{address}: only https addresses are fetched; download it yourself")
        self.name = address
        self._content: bytes | None = None

    def read(self, largest: int = LARGEST_DOWNLOAD) -> bytes:
        """Return the content of the file.

        Raises:
            ImageError: no answer, another one than the file, or more than 64 MiB.
        """
        if self._content is None:
            self._content = _fetch(self.name, min(largest, LARGEST_DOWNLOAD))
        return self._content


class _Https(HTTPRedirectHandler):
    """Follow redirects to other https addresses only."""

    def redirect_request(self, *args: Any) -> Request | None:
        """Return the request that an answer asks for instead."""
        address = str(args[-1])
        if urlsplit(address).scheme.lower() != "https":
            raise URLError(f"leads to {address}, which is not https")
        return super().redirect_request(*args)


def _fetch(address: str, largest: int) -> bytes:
    opener = OpenerDirector()
    for handler in (HTTPSHandler(context=ssl.create_default_context()), _Https()):
        opener.add_handler(handler)
    request = Request(address, headers={"User-Agent": "nommer"})  # noqa: S310 - https, as checked
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            status, reason = int(answer.status), answer.reason
            content: bytes = answer.read(largest + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise ImageError(address, f"cannot be fetched: {why}") from error
    if status != 200:
        raise ImageError(address, f"the server answers {status} {reason}")
    if len(content) > largest:
        raise ImageError(address, f"over the limit of {largest:,} bytes for files from the web")
    return content
