"""Long work shows a bar with the time left; where the output is no terminal, plain lines."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import track as rich_track
from rich.segment import Segment
from rich.text import Text

from nommer.shown import clean

T = TypeVar("T")


class CleanConsole(Console):
    """A console that shows no commands to the terminal that stand in names of files and classes."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As rich renders, text cleaned."""
        if (
            isinstance(renderable, Text)
            and (cleaned := clean(renderable.plain)) != renderable.plain
        ):
            renderable = Text(cleaned, style=renderable.style)
        return super().render(renderable, options)

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich renders, text cleaned."""
        return super().render_str(clean(text), **options)


NARROWEST = 20
"""Columns; a terminal that says it has fewer, or none, does not know."""


def make_console(*, stderr: bool = False) -> CleanConsole:
    """Return a console for plain text, in which names of files and classes are no markup."""
    columns = os.environ.get("COLUMNS", "")
    unknown = columns.isdigit() and int(columns) < NARROWEST
    return CleanConsole(stderr=stderr, emoji=False, markup=False, width=80 if unknown else None)


console = make_console(stderr=True)
"""Stream of progress and notices; results go to standard output."""


def notice(text: str) -> None:
    """One plain line about what is going on."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def on_terminal() -> bool:
    """Return whether people look at standard error, which services and windows do not have."""
    return sys.stderr is not None and sys.stderr.isatty()


def track(items: Iterable[T], *, total: int | None, what: str) -> Iterator[T]:
    """Go through `items`, showing how far it is; `total` is None where nobody knows.

    About ten plain lines where the output is no terminal.
    """
    if on_terminal():
        yield from rich_track(items, total=total, description=what, console=console, transient=True)
        return
    step = max(1, (total or 0) // 10)
    for done, item in enumerate(items, start=1):
        yield item
        if total and total > 1000 and done % step == 0:
            notice(f"{what}: {done} of {total}")
