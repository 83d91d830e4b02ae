"""The one kind of error that is the user's to mend, and what every option is refused for."""

import os
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TORCHRUN = frozenset({"TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"})
"""Variables that torchrun sets in the processes that it starts."""

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 2, 5, 5, 3
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def another_tells() -> bool:
    """Return True in a process of torchrun beside another of its machine, which tells the same."""
    is_started = os.environ.keys() >= TORCHRUN
    return is_started and os.environ.get("LOCAL_RANK", "0") != "0"


class InputError(ValueError):
    """Something given by the user does not fit.

    One sentence with what was found, what was expected, what to do.
    """

    everywhere: bool | None = None
    """False where one process of a run has it and others may not; None where nobody knows better,
    and all have it alike, so one of each machine says it."""


def quoted(value: object) -> str:
    """Return what was read as Python writes it, shortened, as a message may quote it."""
    return _SHORT.repr(value)


def shortened(text: str, most: int = 60) -> str:
    """Return a text as a message may show it: on one line, at most `most` characters."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


_WANTS_OF_MEMORY = (
    "can't allocate memory",  # torch's allocator
    "std::bad_alloc",
    "can't start new thread",  # whose stack finds no room
    "failed to map segment",  # of a library that is loaded
    "Cannot allocate memory",
)
_OF_ONEDNN = "could not create a primitive"
"""All that oneDNN says of it."""


def is_want_of_memory(error: BaseException) -> bool:
    """Return True for an error that says that the memory of the machine is full."""
    said = str(error)
    known = said == _OF_ONEDNN or any(words in said for words in _WANTS_OF_MEMORY)
    return known or isinstance(error, MemoryError)


@contextmanager
def of_this_process() -> Iterator[None]:
    """Let errors that come while this lasts be those of this process alone, if nobody knows better.

    Of errors of all processes of a run only one is shown.
    """
    try:
        yield
    except InputError as error:
        error.everywhere = error.everywhere is True
        raise


def check_minimum(option: str, value: float | None, minimum: int) -> None:
    """Refuse a number below `minimum`; None stands for a default and passes.

    Raises:
        InputError: the option, what was found, what is expected.
    """
    if value is not None and not value >= minimum:  # which NaN is not
        raise InputError(f"--{option} must be {minimum} or more, got {value}")


def check_share(name: str, value: float | None) -> None:
    """Refuse a number that is not from 0 to 1; None stands for a default and passes.

    Raises:
        InputError: the option or argument, what was found, what is expected.
    """
    if value is not None and not 0 <= value <= 1:
        raise InputError(f"{name} must be from 0 to 1, got {value}")


def refuse_given(task: str, **options: Any) -> None:
    """Refuse what is not None: it would change nothing for this task.

    Raises:
        InputError: the first that is given.
    """
    for name, value in options.items():
        if value is not None:
            raise InputError(f"--{name.replace('_', '-')}: does nothing for {task}; leave it out")


def refuse_options(name: str, options: Any, task: str, *, unset: Any = None) -> None:
    """Refuse options of another task, which would change nothing.

    Args:
        name: of all of them together.
        options: as given.
        task: the other one, in words.
        unset: the options as they are where none is given; by default their defaults.

    Raises:
        InputError: any of them is not as it is by default.
    """
    unset = unset or type(options)()
    given = [field for field in vars(options) if getattr(options, field) != getattr(unset, field)]
    if given:
        raise InputError(
            f"--{name}.{given[0].replace('_', '-')}: does nothing for {task}; leave it out"
        )
