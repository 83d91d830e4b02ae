"""An image without an answer."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Failure:
    """An image without an answer, and why; the other images of its batch have theirs."""

    source: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"image": self.source, "error": self.error}
