"""The options of a verb: the fields of its settings, those of groups by group and name."""

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from nommer.settings.documentation import texts_of
from nommer.settings.schema import Settings

FILES_ONLY = "detection.protocol"
"""A group that is set in files and from Python; its 31 numbers are for no command line."""


SECOND = "against"
"""Option that stands behind the model, without its name."""

MANY = ("images", "models")
"""Options that are given without their names, as many as there are."""


@dataclass(frozen=True)
class Option:
    """A field of a verb's settings."""

    name: str
    """With the names of its groups before it, as in "optim.weight_decay"."""
    field: Field[Any]

    @property
    def group(self) -> str:
        """The name of its outermost group; empty for options of the verb itself."""
        return self.name.partition(".")[0] if "." in self.name else ""

    @property
    def dashed(self) -> str:
        """The option as it is written."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def kind(self) -> Any:
        """Its type."""
        return self.field.type

    @property
    def required(self) -> bool:
        """True where it has no default."""
        return self.field.default is MISSING

    @property
    def value(self) -> str:
        """The form of its value: "N", "PATH", "auto|32"; nothing for a flag."""
        return _NAMED.get(self.field.name) or value_in_words(self.kind)

    @property
    def hidden(self) -> bool:
        """True where it is set in files only."""
        return self.name.startswith(f"{FILES_ONLY}.")


def options_of(settings: type[Any], prefix: str = "") -> Iterator[Option]:
    """Yield the options of a verb, those of a group where the group stands."""
    for one in fields(settings):
        name = f"{prefix}{one.name}"
        if isinstance(one.type, type) and issubclass(one.type, Settings):
            yield from options_of(one.type, f"{name}.")
        else:
            yield Option(name, one)


def texts(settings: type[Any], prefix: str = "") -> dict[str, str]:
    """Return the help texts of all options and groups, by name."""
    found = {f"{prefix}{name}": text for name, text in texts_of(settings).items()}
    for one in fields(settings):
        if isinstance(one.type, type) and issubclass(one.type, Settings):
            found |= texts(one.type, f"{prefix}{one.name}.")
    return found


def groups_of(settings: type[Any]) -> list[str]:
    """Return the names of the groups of a verb's settings."""
    return [
        one.name
        for one in fields(settings)
        if isinstance(one.type, type) and issubclass(one.type, Settings)
    ]


def is_list(kind: Any) -> bool:
    """Return whether values of this type are lists, which may be written with commas."""
    if get_origin(kind) in (Union, UnionType):
        return all(is_list(one) for one in get_args(kind) if one is not NoneType)
    return get_origin(kind) is tuple


_NAMED = {"time_limit": "TIME", "auto_augment": "POLICY", "threshold": "X|best|FILE"}

_VALUES = {int: "N", float: "X", Path: "PATH", str: "NAME", dict: "{...}"}


def value_in_words(kind: Any) -> str:
    """Return how a value of this type is written: "N", "PATH", "auto|32"; nothing for a flag."""
    origin, kinds = get_origin(kind), [one for one in get_args(kind) if one is not NoneType]
    if kind is bool:
        return ""
    if origin is Literal:
        return "|".join(str(one) for one in kinds)
    if origin in (Union, UnionType):
        return "|".join(value_in_words(one) or "true|false" for one in kinds)
    if origin is tuple:
        shown = value_in_words(kinds[0])
        return f"{shown},..." if kinds[-1] is Ellipsis else ",".join([shown] * len(kinds))
    return _VALUES.get(origin or kind, "LIST")
