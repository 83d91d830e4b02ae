"""The one kind of error that is the user's to mend, and what every option is refused for."""

from typing import Any


class InputError(ValueError):
    """Something given by the user does not fit: one sentence with what was found, what was expected, what to do."""


def check_minimum(option: str, value: float | None, minimum: int) -> None:
    """Refuse a number below `minimum`; None stands for a default and passes.

    Raises:
        InputError: the option, what was found, what is expected.
    """
    if value is not None and value < minimum:
        raise InputError(f"--{option} must be {minimum} or more, got {value}")


def refuse_given(task: str, **options: Any) -> None:
    """Refuse what is not None: it would change nothing for this task.

    Raises:
        InputError: the first that is given.
    """
    for name, value in options.items():
        if value is not None:
            raise InputError(f"--{name.replace('_', '-')}: does nothing for {task}; leave it out")


def refuse_options(name: str, options: Any, task: str) -> None:
    """Refuse options of another task, which would change nothing.

    Raises:
        InputError: any of them is not as it is by default.
    """
    unset = type(options)()
    given = [field for field in vars(options) if getattr(options, field) != getattr(unset, field)]
    if given:
        raise InputError(f"--{name}.{given[0].replace('_', '-')}: does nothing for {task}; leave it out")
