"""Pixels of a run that starts from another model: prepared as that one has learned them."""

from dataclasses import replace
from typing import Any

from nommer.errors import InputError
from nommer.models.classification import Classifier
from nommer.models.storage import read_model
from nommer.progress import notice
from nommer.runs.folder import RunFolder
from nommer.settings.pixels import PixelOptions
from nommer.settings.train import TrainSettings

NAMES = ("mean", "std", "background")
"""Options of `pixels` whose values weights depend on, whatever the task."""


def pixels_like_pretrained(settings: TrainSettings, *, crops: bool) -> TrainSettings:
    """Return settings whose pixels are those of the model whose weights are to be taken.

    On resuming they are those of the run: the weights that it started from may be gone.

    Args:
        settings: of the run.
        crops: the task resizes and crops every image, as classification does; only where both
            models do, or neither, is the interpolation taken over.

    Raises:
        InputError: other values are given, and the classifier is taken over too.
    """
    if settings.pretrained is None:
        return settings
    if settings.resume:
        theirs = RunFolder(settings.out).read_config().get("pixels", {})
        names: tuple[str, ...] = (*NAMES, "interpolation")
    else:
        model = read_model(settings.pretrained)
        theirs = vars(model.preprocessing)
        names = (*NAMES, "interpolation") if isinstance(model, Classifier) == crops else NAMES
    unset, given = PixelOptions(), settings.pixels
    taken: dict[str, Any] = {}
    for name in names:
        value = theirs.get(name)
        value = tuple(value) if isinstance(value, list) else value
        if value is None or value == getattr(given, name):
            continue
        if getattr(given, name) == getattr(unset, name):
            taken[name] = value
        elif not settings.resume:  # which is compared with the run later
            _check_difference(settings, name, value)
    _tell(settings, taken)
    return replace(settings, pixels=replace(given, **taken))


def _check_difference(settings: TrainSettings, name: str, value: Any) -> None:
    """Accept other pixels than the weights know for a new head alone, which learns them."""
    source, given = settings.pretrained, getattr(settings.pixels, name)
    if source is not None and source.is_file():  # of published weights nobody knows
        return
    if not settings.reinit_head:
        raise InputError(
            f"--pixels.{name} {given}: {source} has learned from images with {value}; leave the "
            "option out to take that over"
        )
    notice(f"--pixels.{name} {given}: {source} has learned from images with {value}")


def _tell(settings: TrainSettings, taken: dict[str, Any]) -> None:
    told = {name: value for name, value in taken.items() if name != "interpolation"}
    if told and not settings.resume:
        values = ", ".join(f"{name} {list(value)}" for name, value in told.items())
        notice(f"pixels as {settings.pretrained} has learned them: {values}")
