"""The options of a request, as texts or as JSON has them."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from nommer.errors import InputError, quoted, shortened
from nommer.serving.errors import RefusedError
from nommer.serving.model import Options
from nommer.settings.predict import BEST


def options_of(values: Mapping[str, Any]) -> Options:
    """Return the options that a request gives, as texts or as JSON has them.

    Raises:
        RefusedError: 422 for an unknown one, or a value that does not fit.
    """
    known = {one.name: one.type for one in fields(Options)}
    for name in values:
        if name not in known:
            raise RefusedError(
                422, f"{shortened(str(name))}: no such option; there are model, {', '.join(known)}"
            )
    readers: dict[str, Any] = {
        "top": _whole,
        "most": _whole,
        "threshold": _threshold,
        "refuse": flag_of,
        "pixels": flag_of,
    }
    try:
        return Options(
            **{
                name: readers[name](name, value)
                for name, value in values.items()
                if value is not None and value != ""
            }
        )
    except InputError as error:
        raise RefusedError(422, str(error)) from error


def _whole(name: str, value: Any) -> int:
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise RefusedError(422, f"{name} must be a whole number of 1 or more, got {quoted(value)}")
    return int(text)


def _number(name: str, value: Any) -> float:
    try:
        return float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError) as error:
        raise RefusedError(
            422, f"{shortened(name)} must be a number, got {quoted(value)}"
        ) from error


def _threshold(name: str, value: Any) -> float | str | tuple[tuple[str, float], ...]:
    """Return a number, best, or pairs of a class and its number, of JSON or in a text."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RefusedError(422, f"{name} is no JSON: {shortened(str(error))}") from error
    if isinstance(value, Mapping):
        return tuple((one, _number(f"{name} of {one}", told)) for one, told in value.items())
    return BEST if value == BEST else _number(name, value)


def flag_of(name: str, value: Any) -> bool:
    """Return a flag.

    Raises:
        RefusedError: 422 for what is neither true nor false.
    """
    if value is True or (isinstance(value, str) and value in ("true", "1")):
        return True
    if value is False or (isinstance(value, str) and value in ("false", "0")):
        return False
    raise RefusedError(422, f"{name} must be true or false, got {quoted(value)}")
