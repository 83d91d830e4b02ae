"""Features in an export: refused, for nothing could be said of a file without answers."""

from typing import Any, NoReturn

from nommer.errors import InputError
from nommer.models.features import refusal
from nommer.tasks.exporting import ScoresExport
from nommer.tasks.image_size import ImageSize


class ImitationExport(ScoresExport):
    """Nothing is exported."""

    outputs = ("features",)
    parity_images = 32

    def image_size(self, model: Any, *, dynamic: bool) -> NoReturn:
        """Refuse.

        Raises:
            InputError: always.
        """
        raise InputError(refusal())

    def left_out(self, model: Any, size: ImageSize) -> tuple[str, ...]:
        """Return nothing."""
        return ()
