"""Two models on the same images: which one is better, and whether that can be told at all.

The images are resampled, the same ones for both, so that what makes an image hard for both of them
does not blur the difference.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nommer.intervals import ends
from nommer.tasks.decided import Decided
from nommer.tasks.task import Task


@dataclass(frozen=True)
class Difference:
    """A number of two models, and its difference with the 95 % interval."""

    measure: str
    """Name of the number, as the report has it."""
    first: float
    second: float
    difference: float
    """The first one's less the second one's."""
    low: float | None
    high: float | None
    """Ends of the interval; None of one image."""
    sentence: str
    """The same for people."""

    @property
    def is_told(self) -> bool:
        """True where one of them is better."""
        return self.low is not None and self.high is not None and self.low * self.high > 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"is_told": self.is_told}


def compare(
    first: Decided, second: Decided, names: tuple[Path | None, Path | None], task: Task
) -> tuple[Difference, ...]:
    """Compare two evaluations on the same images, by every number that both have intervals of.

    The task's own measure comes first.
    """
    reports = [one.evaluation.report.summary() for one in (first, second)]
    shared = [name for name in first.resampled if name in second.resampled]
    measures = sorted(shared, key=lambda name: name != task.module.measure)
    found = []
    for name in measures:
        values = [report[name] for report in reports]
        if None in values:
            continue
        drawn = [one.resampled[name] for one in (first, second)]
        low, high = ends(drawn[0] - drawn[1], len(first.evaluation.samples))
        found.append(_difference(name, values, (low, high), [str(path) for path in names]))
    return tuple(found)


def _difference(
    measure: str,
    values: Sequence[float],
    interval: tuple[float | None, float | None],
    names: Sequence[str],
) -> Difference:
    difference, (low, high) = values[0] - values[1], interval
    called = measure.replace("_", " ")
    if low is None or high is None:
        said = f"{called}: no difference can be told from one image"
    elif low <= 0 <= high:
        said = (
            f"{called}: no difference can be told: {100 * difference:+.1f} points "
            f"[{100 * low:+.1f}, {100 * high:+.1f}]"
        )
    else:
        better = names[0] if low > 0 else names[1]
        by, *between = (abs(difference), *sorted((abs(low), abs(high))))
        said = (
            f"{called}: {better} is better by {100 * by:.1f} points "
            f"[{100 * between[0]:.1f}, {100 * between[1]:.1f}]"
        )
    return Difference(measure, values[0], values[1], difference, low, high, said)
