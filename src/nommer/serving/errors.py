"""Refusals of the server: a status of HTTP and a sentence."""

from collections.abc import Mapping


class RefusedError(Exception):
    """A request that is not answered, or not as it was asked.

    Args:
        status: of HTTP.
        sentence: what was found, what was expected, what to do.
        headers: of the response.
    """

    def __init__(
        self, status: int, sentence: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})
