"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """Something given by the user does not fit: one sentence with what was found, what was expected, what to do."""


def check_minimum(option: str, value: float | None, minimum: int) -> None:
    """Refuse a number below `minimum`; None stands for a default and passes.

    Raises:
        InputError: the option, what was found, what is expected.
    """
    if value is not None and value < minimum:
        raise InputError(f"--{option} must be {minimum} or more, got {value}")
