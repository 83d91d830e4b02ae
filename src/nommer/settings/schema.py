"""Settings as frozen dataclasses: one schema for Python, the command line, recipes and run folders.

A field's annotation is its type on all ways in, and the docstring below it is its help text.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    overload,
)

from nommer.errors import InputError

Kept = TypeVar("Kept")
Also = TypeVar("Also")

if TYPE_CHECKING:

    class Takes(Generic[Kept, Also]):
        """A field that is read as `Kept` and may be given as `Kept` or `Also`."""

        @overload
        def __get__(self, owner: None, kind: type) -> Any: ...
        @overload
        def __get__(self, owner: object, kind: type) -> Kept: ...
        def __get__(self, owner: object, kind: type) -> Any: ...
        def __set__(self, owner: object, value: Kept | Also) -> None: ...

else:

    class Takes:
        """At run time the type that is kept, which is what parsers and tests look at."""

        def __class_getitem__(cls, kinds: tuple[Any, Any]) -> Any:
            return kinds[0]


def given(default: Any) -> Any:
    """Return a field with a default, for a field whose type is `Takes`."""
    return field(default=default)


def required() -> Any:
    """Return a field without a default, for a field whose type is `Takes`."""
    return field()  # mypy takes a call of `field` itself for no descriptor


@dataclass(frozen=True)
class Settings:
    """Base of all settings: values of any way in are converted and checked in the same way.

    Raises:
        InputError: a value of another type, or out of range; the message names it.
    """

    prefix: ClassVar[str] = "--"
    """Beginning of the names of fields in messages; names of options are written with dashes."""
    named: ClassVar[bool] = False
    """On the command line, required options have names as all others; else they come first."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = converted(one.type, getattr(self, one.name), self.name_of(one.name))
            object.__setattr__(self, one.name, value)
        self.check()

    def check(self) -> None:
        """Refuse values out of range."""

    @classmethod
    def name_of(cls, name: str) -> str:
        """Return the name of a field as people write it."""
        written = name.replace("_", "-") if cls.prefix.startswith("--") else name
        return f"{cls.prefix}{written}"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], name: str = "settings") -> Any:
        """Build from plain values, with mappings for groups, as files have them.

        An option that there was not yet when a file was written is at its default.

        Raises:
            InputError: a name that is none of the fields, or a value that does not fit.
        """
        known = {one.name: one.default is MISSING for one in fields(cls)}
        for given_name in values:
            if given_name not in known:
                near = get_close_matches(str(given_name), known, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                raise InputError(f"{name}: there is no option {given_name!r}; {hint}")
        missing = [one for one, is_required in known.items() if is_required and one not in values]
        if missing:
            raise InputError(f"{name}: {missing[0]} is missing")
        return cls(**values)


def converted(kind: Any, value: Any, name: str) -> Any:
    """Return `value` as a field of type `kind` keeps it.

    Raises:
        InputError: it is of another type; `name` says where.
    """
    fits, result = _fitting(kind, value, name)
    if not fits:
        raise InputError(f"{name} must be {describe(kind)}, got {_shown(value)}")
    return result


def _fitting(kind: Any, value: Any, name: str) -> tuple[bool, Any]:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        options = (_fitting(one, value, name) for one in get_args(kind))
        return next((option for option in options if option[0]), (False, None))
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(kind)), value
    if origin is tuple:
        return _fitting_tuple(get_args(kind), value, name)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        listed = isinstance(value, list | tuple)
        return listed, tuple(value) if listed else value
    if isinstance(kind, type) and issubclass(kind, Settings) and isinstance(value, Mapping):
        return True, kind.from_mapping(value, name)
    return _fitting_plain(origin or kind, value)


def _fitting_tuple(kinds: tuple[Any, ...], value: Any, name: str) -> tuple[bool, Any]:
    """Convert a list; one entry alone stands for a list of it, where the length is open."""
    is_open = kinds[-1] is Ellipsis
    if is_open and isinstance(value, str | os.PathLike):
        value = [value]
    if not isinstance(value, list | tuple) or not (is_open or len(value) == len(kinds)):
        return False, value
    of_each = [kinds[0]] * len(value) if is_open else kinds
    found = [_fitting(kind, one, name) for kind, one in zip(of_each, value, strict=True)]
    return all(fits for fits, _ in found), tuple(result for _, result in found)


def _fitting_plain(kind: Any, value: Any) -> tuple[bool, Any]:
    """Convert text, numbers and paths; true and false are no numbers."""
    if kind is Any:
        return True, value
    if kind in (int, float):
        number = Integral if kind is int else Real
        fits = isinstance(value, number) and not isinstance(value, bool) and is_held(value, kind)
        plain = isinstance(value, int | float)
        return fits, kind(value) if fits and not plain else value
    if kind is Path or (kind is str and isinstance(value, os.PathLike)):
        fits = isinstance(value, str | os.PathLike)
        return fits, kind(os.fspath(value)) if fits else value
    return isinstance(value, kind), value


def is_held(value: Any, kind: type = float) -> bool:
    """Return True for a number that 64 bits hold, as whatever computes with it needs."""
    return not isinstance(value, Integral) or abs(int(value)) < 2 ** (63 if kind is int else 1023)


def too_long(value: Any) -> str:
    """Say how long a number is that is not held."""
    return f"a number of {len(str(abs(int(value))))} digits, more than 64 bits hold"


_NAMES = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("text", "texts"),
    Path: ("a path", "paths"),
    dict: ("names with values", "names with values"),
    Any: ("anything", "values"),
}
_COUNTS = {2: "two", 3: "three", 4: "four"}


def describe(kind: Any, *, many: bool = False) -> str:
    """Return a type in words, such as "auto, 32 or bf16"."""
    origin, kinds = get_origin(kind), get_args(kind)
    if origin is Literal:
        *first, last = (str(one) for one in kinds)
        return f"{', '.join(first)} or {last}" if first else last
    if origin in (Union, UnionType):
        return " or ".join(describe(one, many=many) for one in kinds if one is not NoneType)
    if origin is tuple:
        count = "a list of" if kinds[-1] is Ellipsis else _COUNTS.get(len(kinds), str(len(kinds)))
        return f"{count} {describe(kinds[0], many=True)}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list of {describe(kinds[0], many=True)}"
    if is_dataclass(kind):
        return f"{kind.__name__} or a dictionary of its fields"  # type: ignore[union-attr]
    return _NAMES.get(origin or kind, (str(kind), str(kind)))[many]


def _shown(value: Any) -> str:
    if not is_held(value, int):
        return too_long(value)
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
