"""Addresses of data that lie elsewhere, where people otherwise name a file or a folder.

An address may be pinned to a version, `s3://bucket/photos.zip#version=9f2c`: a run writes it so
into its settings, and means these very files from then on. What stands behind a `?`, such as a
signature, is used to fetch and never written.
"""

import re
from pathlib import Path, PurePath

from nommer.errors import InputError

SCHEMES = ("hf", "s3", "gs", "https")
"""Kinds of addresses: Hugging Face's hub, S3 and what speaks like it, Google's storage, the web."""

_ADDRESS = re.compile(r"(?P<scheme>hf|s3|gs|https):/{1,2}(?P<rest>[^/].*)", re.S | re.I)
"""With one slash too: that is what a `Path` makes of two."""

_OTHER = re.compile(
    r"(?P<scheme>http|ftp|sftp|ssh|s3a|s3n|gcs|az|abfs|abfss|wasb|hdfs|file):/+.+", re.S
)

_PIN = "#version="


def is_address(place: str | PurePath | None) -> bool:
    """Return True for an address, whether text or a path made of it."""
    return place is not None and _ADDRESS.fullmatch(_text(place)) is not None


def refuse_other(place: str | PurePath) -> None:
    """Refuse an address of a kind that nothing is brought from; files may be called anything else.

    Raises:
        InputError: which kinds there are.
    """
    found = _OTHER.fullmatch(_text(place))
    if found is not None:
        raise InputError(
            f"{found['scheme']}://: is an address of a kind that is not fetched; expected one of "
            f"{', '.join(f'{scheme}://' for scheme in SCHEMES)}, or a file or folder"
        )


def address_of(place: str | PurePath) -> str:
    """Return an address as it is written, with what is behind `?`; without a pinned version.

    Raises:
        InputError: it holds a user's name or password.
    """
    found = _ADDRESS.fullmatch(_text(place).partition(_PIN)[0])
    if found is None:
        raise InputError(f"{place}: is no address; expected one of {', '.join(SCHEMES)}://")
    host = found["rest"].partition("/")[0]
    if "@" in host:
        raise InputError(
            f"{found['scheme']}://...@{host.rpartition('@')[2]}: holds a name or password, which "
            "would be written down; give it without, and them by the environment or ~/.netrc "
            "(docs/data.md)"
        )
    return f"{found['scheme'].lower()}://{found['rest'].rstrip('/')}"


def without_query(address: str) -> str:
    """Return an address without what is behind `?`, which may be a signature."""
    return address.partition("?")[0] if address.startswith("https:") else address


def version_in(place: str | PurePath) -> str | None:
    """Return the version that an address is pinned to, if it is."""
    return _text(place).partition(_PIN)[2] or None


def pinned(place: str | PurePath, version: str) -> Path:
    """Return an address, without its query, that means one version."""
    return Path(f"{without_query(address_of(place))}{_PIN}{version}")


def written(place: str | PurePath) -> str:
    """Return a path as it is written and shown: an address with both slashes and no query."""
    if not is_address(place):
        return str(place)
    version = version_in(place)
    return without_query(address_of(place)) + (f"{_PIN}{version}" if version else "")


def same_address(one: Path, other: Path) -> bool:
    """Return True for two addresses of the same place, in whatever version."""
    both = is_address(one) and is_address(other)
    return both and without_query(address_of(one)) == without_query(address_of(other))


def whole(path: Path) -> Path:
    """Return a path as an absolute one; an address stays what it is, without its query."""
    return Path(written(path)) if is_address(path) else path.absolute()


def _text(place: str | PurePath) -> str:
    return place.as_posix() if isinstance(place, PurePath) else str(place)
