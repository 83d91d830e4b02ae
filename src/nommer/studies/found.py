"""All that a study found, and how its numbers are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nommer.models.recogniser import ImagePreparation
from nommer.nominations.explanation import Explanation
from nommer.studies.faithfulness import Decisions
from nommer.studies.pattern import Rows


@dataclass(frozen=True)
class Found:
    """All that a report tells of."""

    tables: Mapping[str, Rows]
    absent: Mapping[str, str]
    wording: Mapping[str, str]
    """The task's own, of the sections on parts of the images."""
    facts: Mapping[str, Any]
    """Facts by name.

    "model", "data", "split", "images", "images_judged", "shrunk", "token", "seed", "measure",
    "measure_name", "contexts" and "fusion" of the network.
    """
    command: str
    explanations: Sequence[Explanation] = ()
    """Of some images, as examples."""
    decisions: Decisions | None = None
    normalisation: ImagePreparation | None = None
    class_names: Sequence[str] = ()


def with_interval(row: Mapping[str, Any], name: str) -> str:
    """A number of a row with its interval."""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    value = in_digits(row[name])
    return (
        value if low is None or high is None else f"{value} [{in_digits(low)}, {in_digits(high)}]"
    )


def in_digits(value: float | None) -> str:
    """Return a number with three digits; n/a for None."""
    text = "n/a" if value is None else f"{value:.3f}"
    return "0.000" if text == "-0.000" else text
