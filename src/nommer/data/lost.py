"""Data that were found and cannot be had any more."""

from nommer.errors import InputError


class LostError(InputError):
    """A chunk that cannot be brought: no fault of its images."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source, self.reason = source, reason

    def __reduce__(self) -> tuple[type["LostError"], tuple[str, str]]:
        return type(self), (self.source, self.reason)
