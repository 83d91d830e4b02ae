"""Names of settings in files of older versions, in the words of this one."""

from collections.abc import Mapping
from typing import Any

from nommer.errors import InputError

_MOVED = ("ema", "patience", "min_delta", "freeze")
"""Options that stood in the group `aids`."""


def in_todays_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a training with options where they stand today.

    Raises:
        InputError: an option that is gone and did something.
    """
    today = dict(settings)
    aids = today.pop("aids", None)
    if isinstance(aids, Mapping):
        today = {name: aids[name] for name in _MOVED if name in aids} | today
    if today.pop("strategy", "auto") not in ("auto", "ddp", None):
        raise InputError(
            "strategy: sharded training (fsdp) is no more, every process keeps all weights; leave "
            "it out"
        )
    return today
