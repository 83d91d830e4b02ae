"""Data of a run that lie elsewhere: brought before anything is read, and meant in one version."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nommer.data.remote import bring, has_copy
from nommer.runs.folder import RunFolder
from nommer.settings.addresses import is_address, pinned, same_address, version_in
from nommer.settings.train import TrainSettings

_PLACES = ("data", "more_data", "probe")
"""Settings of where data lie."""


def with_data_here(settings: TrainSettings) -> TrainSettings:
    """Bring data that lie elsewhere, and return settings that mean the version that was brought.

    A run that goes on means the version that it began with.

    Raises:
        InputError: they cannot be brought, or are of another version now.
    """
    names = [name for name in _PLACES if any(map(is_address, _places(settings, name)))]
    if not names:
        return settings
    started = (RunFolder(settings.out).settings() if settings.resume else None) or settings
    before = [place for name in _PLACES for place in _places(started, name)]
    changed: dict[str, Any] = {}
    for name in names:
        asks = settings.resume
        found = tuple(_here(one, before, asks=asks) for one in _places(settings, name))
        changed[name] = found if name == "more_data" else found[0]
    return replace(settings, **changed)


def bring_first(settings: TrainSettings) -> TrainSettings:
    """Do as `with_data_here`, unless the run folder is refused anyway."""
    RunFolder(settings.out).check(resume=settings.resume, overwrite=settings.overwrite)
    return with_data_here(settings)


def _places(settings: TrainSettings, name: str) -> Sequence[Path]:
    found = getattr(settings, name, None)
    return found if isinstance(found, tuple) else [found] if found else []


def _here(place: Path, before: Sequence[Path], *, asks: bool) -> Path:
    """Return an address pinned to the version whose copy is here; other places as they are.

    Args:
        place: as it was given.
        before: places that a run began with.
        asks: ask the server even where the version that is meant is here.
    """
    if not is_address(place) or (has_copy(place) and not asks):
        return place
    same = (version_in(one) for one in before if same_address(one, place))
    wanted = version_in(place) or next(same, None)
    return pinned(place, bring(place, wanted).version)
