"""Answers as plain values for JSON: as `nommer predict` writes them, with pixels where asked."""

from typing import Any

from nommer.predictions.plain import as_plain
from nommer.serving.model import Answer, Options


def as_dict(answer: Answer, options: Options) -> dict[str, Any]:
    """Return an answer as plain values, as the options of a request want it; see `as_plain`."""
    return as_plain(answer, top=options.top or 5, pixels=options.pixels)
