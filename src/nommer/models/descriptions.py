"""One schema for every description that is read: `model.json`, and the metadata of ONNX files.

Whoever wrote them, no value reaches a constructor that is of another kind, out of its range or
absurdly long; and no network is built before its shapes are those of the weights beside it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from nommer.backbone.config import NomMerConfig
from nommer.errors import InputError, quoted
from nommer.models.decisions import Decisions
from nommer.models.weights import refuse_misfits
from nommer.settings.rcnn import RCNNProtocol

LONGEST_NAME, MOST_ENTRIES = 1000, 1_000_000
"""Letters of a text, and entries of a list."""

TRIPPED = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError),
    *(RuntimeError, TypeError, ValueError),
)
"""Errors of constructors for values that make no sense together."""

_RANGES: dict[str, tuple[float, float]] = {
    "category_ids": (-(2.0**63), 2.0**63),
    "colours": (0, 255),
    "background": (0, 255),
    "mean": (-1e4, 1e4),
    "std": (1e-4, 1e4),
    "image_size": (0, 16_384),
    "img_size": (1, 16_384),
    "threshold": (0, 1),
    "class_thresholds": (0, 1),
    "temperatures": (1e-2, 100),
    "offsets": (-100, 100),
    "rate": (0, 1),
    "whitening": (-1e9, 1e9),
    "limit": (0, 1e9),
    "images": (0, 2.0**63),
    "stride": (1, 1024),
}
"""Of numbers by the name that they stand under."""

_USUAL = (-1e6, 1e6)
"""Range of all others."""

_OPTION = str | bool | int | float | list[str | bool | int | float] | None

_ARCHITECTURE = {"timm": str, "num_classes": int, "options": dict[str, _OPTION]}

_HEAD = {"decoder_channels": int, "auxiliary_channels": int, "dropout": float, "masks": bool}
_HEAD |= {"cascade": bool, "protocol": RCNNProtocol, "fpn_channels": int, "box_channels": int}

_INPUT = {"dynamic_batch": bool, "dynamic_size": bool, "size": int, "smallest_size": int}

_KINDS: dict[str, Any] = {
    "task": str,
    "class_names": list[str],
    "class_ids": list[str],
    "threshold": float | None,
    "colours": list[tuple[int, int, int]],
    "category_ids": list[int],
    "decisions": Decisions,
    "head": _HEAD,
    "outputs": list[str],
    "stride": int,
    "protocol": RCNNProtocol,
    "input": _INPUT,
    "precision": Literal["float32", "float16", "int8"],
}
"""The entries of a description, by name; nobody looks at any other."""


def check_description_values(description: Mapping[str, Any], preprocessing: type) -> None:
    """Refuse a description in which a value is not what belongs there.

    Args:
        description: as it was read.
        preprocessing: the dataclass that its preprocessing is for.

    Raises:
        ValueError: its name, what was found, what is expected.
    """
    for name, kind in _KINDS.items():
        if name in description:
            _check(name, description[name], kind)
    if "architecture" in description:
        is_timm = isinstance(description["architecture"], dict) and (
            "timm" in description["architecture"]
        )
        kind = _ARCHITECTURE if is_timm else NomMerConfig
        _check("architecture", description["architecture"], kind)
    if "preprocessing" in description:
        _check("preprocessing", description["preprocessing"], preprocessing)


def check_shapes(build: Callable[[], nn.Module], weights: Mapping[str, Tensor]) -> None:
    """Refuse a network that does not fit its weights before memory is asked for.

    It is built on torch's meta device, where tensors have shapes and nothing else, and no further
    than the weights have entries.

    Raises:
        ValueError: names or shapes that differ; the message lists the first.
    """
    with torch.device("meta"), _limited(2 * len(weights) + 100):
        network = build()
    refuse_misfits(network, weights)


@contextmanager
def _limited(most: int) -> Iterator[None]:
    """Stop whatever is built as soon as it has more parameters than this."""
    count = 0

    def look(_module: nn.Module, _name: str, _parameter: nn.Parameter | None) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise ValueError(f"more than {most} parameters, which the weights do not have")

    handle = register_module_parameter_registration_hook(look)
    try:
        yield
    finally:
        handle.remove()


def _check(name: str, value: Any, kind: Any) -> None:
    """Refuse a value that is not of this kind; a kind is a type, a dataclass or a dictionary."""
    if isinstance(kind, dict):
        _check_named(name, value, kind)
    elif kind in _SCALARS:
        _SCALARS[kind](name, value)
    elif is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        _check_named(name, value, {field.name: hints[field.name] for field in fields(kind)})
    elif get_origin(kind) is Literal:
        _check_word(name, value, get_args(kind))
    elif get_origin(kind) in (Union, UnionType):
        _check_either(name, value, get_args(kind))
    elif get_origin(kind) is dict:
        _check_mapping(name, value)
        for key, item in value.items():
            _check_text(name, key)
            _check(key, item, get_args(kind)[1])
    else:
        _check_list(name, value, get_origin(kind), get_args(kind))


def _check_named(name: str, value: Any, kinds: Mapping[str, Any]) -> None:
    _check_mapping(name, value)
    for key, item in value.items():
        if key not in kinds:
            raise InputError(f"{name} has no {quoted(key)}; known: {', '.join(kinds)}")
        _check(key, item, kinds[key])


def _check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, dict) or len(value) > LONGEST_NAME:
        raise InputError(f"{name} must hold named values, got {quoted(value)}")


def _check_word(name: str, value: Any, words: tuple[Any, ...]) -> None:
    if not any(type(value) is type(word) and value == word for word in words):
        *first, last = (str(word) for word in words if word is not None)
        raise InputError(
            f"{name} must be {', '.join(first)}{' or ' if first else ''}{last}, got {quoted(value)}"
        )


def _check_either(name: str, value: Any, kinds: tuple[Any, ...]) -> None:
    if value is None and NoneType in kinds:
        return
    kinds = tuple(kind for kind in kinds if kind is not NoneType)
    _check(name, value, next((kind for kind in kinds if _may_be(value, kind)), kinds[0]))


def _may_be(value: Any, kind: Any) -> bool:
    """See whether a value could be of this kind, whatever its range."""
    if isinstance(value, list | tuple) or get_origin(kind) is not None:
        return isinstance(value, list | tuple) == (get_origin(kind) not in (None, Literal, dict))
    return type(value) is kind or (kind is float and type(value) is int)


def _check_list(name: str, value: Any, origin: Any, kinds: tuple[Any, ...]) -> None:
    if not isinstance(value, list | tuple) or len(value) > MOST_ENTRIES:
        raise InputError(f"{name} must be a list, got {quoted(value)}")
    fixed = origin is tuple and kinds[-1] is not Ellipsis
    if fixed and len(value) != len(kinds):
        raise InputError(f"{name} must be {len(kinds)} values, got {quoted(value)}")
    for number, item in enumerate(value):
        _check(name, item, kinds[number] if fixed else kinds[0])


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, got {quoted(value)}")
    if len(value) > LONGEST_NAME:
        raise InputError(
            f"{name} must have {LONGEST_NAME} letters at most, got {len(value)}: {quoted(value)}"
        )
    if any("\ud800" <= letter <= "\udbff" or letter == "\0" for letter in value):
        raise InputError(f"{name} must be text, got letters that are none: {quoted(value)}")


def _check_number(name: str, value: Any, *, whole: bool = False) -> None:
    low, high = _RANGES.get(name, _USUAL)
    numbers = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, numbers):
        kind = "a whole number" if whole else "a number"
        raise InputError(f"{name} must be {kind}, got {quoted(value)}")
    if not low <= value <= high:  # which NaN is not either
        raise InputError(f"{name} must be from {low:g} to {high:g}, got {quoted(value)}")


def _check_whole_number(name: str, value: Any) -> None:
    _check_number(name, value, whole=True)


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, got {quoted(value)}")


_SCALARS: dict[Any, Callable[[str, Any], None]] = {
    str: _check_text,
    int: _check_whole_number,
    float: _check_number,
    bool: _check_flag,
}
