"""Access to the server: a bearer token from the environment, compared in constant time."""

import os
from hmac import compare_digest

from starlette.requests import Request

from nommer.errors import InputError
from nommer.serving.errors import RefusedError

TOKEN = "NOMMER_TOKEN"  # noqa: S105 - the name of a variable
"""Environment variable that holds the token; without it everybody may ask."""

_SHORTEST = 16


def token_of_environment() -> bytes | None:
    """Return the token that requests must bear, if any.

    Raises:
        InputError: one that is too short, or has characters that no header can have.
    """
    token = os.environ.get(TOKEN, "")
    if not token:
        return None
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"{TOKEN} must be {_SHORTEST} or more printable ASCII characters without spaces, got "
            f"{len(token)} characters; make one with: openssl rand -hex 32"
        )
    return token.encode()


def check_access(request: Request, token: bytes | None) -> None:
    """Refuse a request that does not bear the token.

    Raises:
        RefusedError: 401.
    """
    if token is None:
        return
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not compare_digest(given.strip().encode(), token):
        raise RefusedError(
            401,
            "this server wants a token: send the header Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )
