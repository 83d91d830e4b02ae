"""Help texts of settings, from the docstrings of their fields."""

import ast
import inspect
import re
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any


def texts_of(settings: type[Any]) -> dict[str, str]:
    """Return the docstring of each field of a dataclass, inherited ones too, in one line each."""
    found: dict[str, str] = {}
    for base in reversed(settings.__mro__[:-1]):
        found |= _own_texts_of(base)
    return {one.name: found.get(one.name, "") for one in fields(settings)}


@cache
def _own_texts_of(settings: type[Any]) -> dict[str, str]:
    """Return the docstrings of a class's own fields; many share a base, which is read once."""
    body = ast.parse(inspect.getsource(settings).lstrip()).body[0]
    return _texts_in(body) if isinstance(body, ast.ClassDef) else {}


def _texts_in(body: ast.ClassDef) -> dict[str, str]:
    found = {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[statement.target.id] = " ".join(str(after.value.value).split())
    return found


def brief(text: str) -> str:
    """Return the first sentence of a help text, without its full stop."""
    return re.split(r"[.;](?= )", text, maxsplit=1)[0].removesuffix(".")


def default_in_words(one: Field[Any], text: str) -> str:
    """Return the default of a field as people say it; nothing for one that is off or required."""
    _, said, words = text.rpartition("By default ")
    if said:
        return words.removesuffix(".")
    value = one.default
    if value is MISSING or value is None or value is False or value == ():
        return ""
    return ",".join(str(entry) for entry in value) if isinstance(value, tuple) else str(value)


def arguments_in_words(settings: type[Any]) -> str:
    """Return the section "Args" of the docstring of a function with these settings."""
    lines = (f"    {name}: {text}" for name, text in texts_of(settings).items())
    return "Args:\n" + "\n".join(lines)
