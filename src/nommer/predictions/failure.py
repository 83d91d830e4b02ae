"""An image without an answer."""

from dataclasses import dataclass, field
from typing import Any

from nommer.predictions.answer import Answer, Moment

NOT_FINITE = "the model's scores are NaN or infinite"


@dataclass(frozen=True)
class Failure(Answer):
    """An image without an answer, and why; the other images of its batch have theirs."""

    source: str
    error: str
    moment: Moment | None = field(default=None, repr=False)
    """The place in a video."""

    def headline(self) -> list[str]:
        """Return why there is no answer."""
        return [self.error]

    def rows(self) -> list[dict[str, Any]]:
        """Return one row with the reason."""
        return [self.to_dict()]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.of, "error": self.error}
