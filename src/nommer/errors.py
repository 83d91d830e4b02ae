"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """Something given by the user does not fit: one sentence with what was found, what was expected, what to do."""
