"""Settings that a run takes over from the weights that it starts from: sizes of parts, pixels."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
from timm.models import get_pretrained_cfg

from nommer.backbone.network import NomMer
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.models.descriptions import check_description_values
from nommer.models.networks import build_timm
from nommer.models.storage import network_of, read_model
from nommer.progress import notice
from nommer.runs.folder import RunFolder
from nommer.settings.network import PEER
from nommer.settings.pixels import SMALL_IMAGE, PixelOptions
from nommer.settings.train import TIMM, TrainSettings
from nommer.tasks.networks import timms_name
from nommer.tasks.pretrained import is_timms

_SIZES = ("patch_size", "stem", "window_size", "block_sizes")
"""Options of a NomMer that are as the weights have them, where they are not given."""

_PIXELS = ("mean", "std", "background", "range")
"""Options of pixels that are as the weights have them, in every task."""

_CROPS = ("interpolation", "crop_pct", "crop_mode")
"""The same for a classifier that starts from a classifier."""


def like_pretrained(settings: TrainSettings, *, image_size: int, crops: bool) -> TrainSettings:
    """Settings in which what is not given is as the weights of `pretrained` have it.

    On resuming as the run has it: the weights that it started from may be gone.

    Args:
        settings: of the run.
        image_size: side of its images in pixels, as far as that is known.
        crops: the task resizes and crops every image, as classification does.

    Raises:
        InputError: weights are named and not asked for, or cannot be loaded; or pixels are given
            otherwise than a model has learned them whose classifier may be taken over too.
    """
    if settings.pretrained is None:
        if settings.model.startswith(PEER) and "." in timms_name(settings) and not settings.resume:
            raise InputError(
                f"--model {settings.model}: names weights of timm; take them with --pretrained "
                f"{TIMM}, or leave the part after the dot out"
            )
        return settings
    if settings.resume:
        started = RunFolder(settings.out).settings()
        if started is None:
            return settings
        pixels = {name: getattr(started.pixels, name) for name in _taken(crops=crops)}
        return _with_pixels(_with_sizes(settings, vars(started.network)), pixels)
    if is_timms(settings):
        told = _told_by_timm(settings)
        said = {name: told.get(name) for name in (_taken(crops=True) if crops else _PIXELS)}
    else:
        model = read_model(settings.pretrained)
        other = network_of(model, settings.pretrained)
        if isinstance(other, NomMer) and not settings.model.startswith(PEER):
            settings = _with_sizes(settings, vars(other.config))
        alike = crops == model.one_size
        names = _taken(crops=crops) if alike else _PIXELS
        said = {name: getattr(model.preprocessing, name) for name in names}
    if image_size < SMALL_IMAGE:
        said.pop("crop_pct", None)
    taken = _with_pixels(settings, said)
    _tell_pixels(settings, taken.pixels, said)
    return taken


def _taken(*, crops: bool) -> tuple[str, ...]:
    """Options of pixels that are taken over from weights that were learned for the same kind."""
    return (*_PIXELS, *_CROPS) if crops else (*_PIXELS, "interpolation")


def _with_sizes(settings: TrainSettings, sizes: Mapping[str, Any]) -> TrainSettings:
    """Settings with the sizes of a NomMer's parts that are not given."""
    if settings.model.startswith(PEER):
        return settings
    taken = {
        name: sizes[name]
        for name in _SIZES
        if name in sizes and getattr(settings.network, name) is None
    }
    return replace(settings, network=replace(settings.network, **taken))


def _with_pixels(settings: TrainSettings, said: Mapping[str, Any]) -> TrainSettings:
    """Settings with what is said of pixels and not given."""
    unset = PixelOptions()
    taken = {
        name: said[name]
        for name in (*_PIXELS, *_CROPS)
        if said.get(name) is not None and getattr(settings.pixels, name) == getattr(unset, name)
    }
    return replace(settings, pixels=replace(settings.pixels, **taken))


def _tell_pixels(settings: TrainSettings, taken: PixelOptions, said: Mapping[str, Any]) -> None:
    """Say what was taken over, where it is not the usual, and what is given otherwise."""
    usual = PixelOptions().values
    shown = [
        f"{name} {_shown(value)}"
        for name, value in said.items()
        if getattr(taken, name) == _plain(value)
        and (is_timms(settings) or _plain(value) != getattr(usual, name, None))
        and value is not None
    ]
    if shown and (is_timms(settings) or any(s.split()[0] in _PIXELS for s in shown)):
        notice(f"pixels as the weights of {settings.pretrained} have them: {', '.join(shown)}")
    others = [
        f"{name} {_shown(getattr(taken, name))}, there {_shown(value)}"
        for name, value in said.items()
        if value is not None and getattr(taken, name) != _plain(value)
    ]
    if others and not _may_differ(settings):
        raise InputError(
            f"--pixels: {settings.pretrained} has learned otherwise than given: "
            f"{'; '.join(others)}; leave the options out to take that over"
        )
    if others:
        notice(f"pixels otherwise than the weights had them, as given: {'; '.join(others)}")


def _may_differ(settings: TrainSettings) -> bool:
    """See whether pixels may be others: where the head is new, or nobody knows what was learned."""
    return settings.reinit_head or (
        settings.pretrained is not None
        and (settings.pretrained == Path(TIMM) or settings.pretrained.is_file())
    )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(f"{number:g}" for number in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _told_by_timm(settings: TrainSettings) -> dict[str, Any]:
    """The config of the weights: in a `config.json` beside the file, or that of their name."""
    beside = (settings.pretrained or Path()).parent / "config.json"
    config = config_beside(beside) if settings.pretrained != Path(TIMM) else {}
    if not config:
        config = _config_of(timms_name(settings))
    said = {name: config.get(name) for name in ("mean", "std", *_CROPS)}
    if said["interpolation"] not in ("bicubic", "bilinear", "nearest"):
        said.pop("interpolation")
    if said["crop_mode"] not in ("center", "squash"):
        said.pop("crop_mode")
    return said


def _config_of(name: str) -> dict[str, Any]:
    """Return timm's own config of a network's weights.

    Raises:
        InputError: it does not know the network, or no weights with this tag.
    """
    build_timm(name.partition(".")[0], num_classes=0)
    try:
        config = get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        known = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}.*")) or "none"
        raise InputError(
            f"--model {PEER}{name}: timm has no such weights; known: {known}"
        ) from error
    return config.to_dict() if config else {}  # type: ignore[no-untyped-call]


def config_beside(path: Path) -> dict[str, Any]:
    """Return the pixels of a `config.json` of timm's hub; nothing where it is another file.

    Raises:
        InputError: values that cannot be.
    """
    try:
        config = json.loads(path.read_bytes())["pretrained_cfg"]
        said = {name: config[name] for name in ("mean", "std", *_CROPS) if name in config}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    try:
        values = {name: said[name] for name in ("mean", "std", "crop_pct") if name in said}
        check_description_values({"preprocessing": values}, Preprocessing)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    return said
