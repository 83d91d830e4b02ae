"""Contexts that are forced on a network, as the explorer and the server are told them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nommer.errors import InputError, quoted

MOST_CELLS = 64
"""Rows and columns of a region, at most."""

_FIELDS = {"context", "block", "region"}


@dataclass(frozen=True)
class Forcing:
    """One context in the place of what would be nominated."""

    context: str
    """One of the network's contexts."""
    block: str | None = None
    """Name of a block, as "stage 1 block 1"; None for all."""
    region: tuple[str, ...] = ()
    """Rows of cells over what the network sees of the image, "1" where it is forced; of no rows:
    everywhere."""

    @classmethod
    def from_value(cls, value: Any) -> "Forcing":
        """Return what a plain value says.

        Raises:
            InputError: it is none; the sentence tells what is expected.
        """
        if not isinstance(value, Mapping) or set(value) - _FIELDS or "context" not in value:
            raise InputError(
                f"force must be objects of context, block and region, got {quoted(value)}"
            )
        context, block = value["context"], value.get("block")
        if not isinstance(context, str) or not isinstance(block, str | None):
            raise InputError(f"force: context and block must be texts, got {quoted(value)}")
        return cls(context, block, _rows(value.get("region") or []))


def _rows(rows: Any) -> tuple[str, ...]:
    """Return the rows of a region.

    Raises:
        InputError: they are no rows of "0" and "1", of one length.
    """
    sound = isinstance(rows, list) and all(isinstance(row, str) for row in rows)
    lengths = {len(row) for row in rows} if sound else set()
    if not sound or len(rows) > MOST_CELLS or max(lengths, default=1) > MOST_CELLS:
        raise InputError(
            f"force: region must be at most {MOST_CELLS} texts of at most {MOST_CELLS} letters 0 "
            f"and 1, got {quoted(rows)}"
        )
    if len(lengths) > 1 or 0 in lengths or set("".join(rows)) - {"0", "1"}:
        raise InputError("force: region must be rows of 0 and 1 that are all as long")
    return tuple(rows)
