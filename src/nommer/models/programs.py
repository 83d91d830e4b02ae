"""`torch.export` programs (pt2) on disk, read without executing anything.

`torch.export.load` trusts its file: it unpickles what is marked as pickled, looks up operations in
all of torch, and evaluates expressions of sizes and guards as Python. So the file is looked through
first, with the same reader, and refused unless it is plain data: raw tensors, operations of ATen
and of arithmetic, expressions of a few known names.
"""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nommer.errors import InputError

_FILES = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|extra/\w+|models/model\.json"
    r"|data/sample_inputs/model\.pt|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
)
"""The members that a program may have."""

_OPERATIONS = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+\.\w+|torch\.ops\.torchvision\.(nms|roi_align)\.default|torch\.sym_(min|max|not|int|float|ite|sum)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
)
"""What a program may call."""

_EXPRESSION = re.compile(
    r"(?:\b(?:Add|Mul|Pow|Integer|Rational|Float|Symbol|Min|Max|FloorDiv|Mod|PythonMod|ModularIndexing|CleanDiv|CeilDiv"
    r"|CeilToInt|FloorToInt|TruncToInt|ToFloat|IntTrueDiv|FloatTrueDiv|Identity|Equality|Unequality|LessThan"
    r"|StrictLessThan|GreaterThan|StrictGreaterThan|And|Or|Not|true|false|True|False|positive|integer|nonnegative"
    r"|precision|infinity)\b|'[a-z]+\d+'|[a-z]+\d+\b|-?\d+(?:\.\d+)?\b|'-?\d+\.\d+'|[(),=\s])*"
)
"""What an expression of sizes may be made of: none of it does anything when it is evaluated."""


def open_program(path: Path) -> tuple[nn.Module, dict[str, str]]:
    """The program as a module on the CPU, and the texts that lie beside it.

    Raises:
        InputError: a file that cannot be read as a program, or holds more than plain data.
    """
    try:
        content = path.read_bytes()
        extra = _check(content, path)
        program = torch.export.load(io.BytesIO(content), extra_files=extra)
        return program.module(check_guards=False), extra
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file makes the reader trip over
        raise InputError(f"{path}: cannot be read as a torch.export program: {error}") from error


def _check(content: bytes, path: Path) -> dict[str, str]:
    """Refuse a program of which anything would be executed when it is loaded.

    Returns:
        The extra files, by name.
    """
    from torch.export.pt2_archive import PT2ArchiveReader  # noqa: PLC0415 - not needed where nothing is loaded

    with PT2ArchiveReader(io.BytesIO(content)) as archive:
        names = list(archive.get_file_names())
        for name in names:
            if not _FILES.fullmatch(name):
                raise _refusal(path, f"a member {name!r}")
            if name.endswith(".pt") and archive.read_bytes(name):
                raise _refusal(path, f"pickled values in {name}")
            for key, value in _entries(
                json.loads(archive.read_bytes(name)) if name.endswith(".json") else None
            ):
                if not _is_plain(key, value):
                    raise _refusal(path, f"{key} {value!r:.80} in {name}")
        return {name.removeprefix("extra/"): "" for name in names if name.startswith("extra/")}


def _is_plain(key: str, value: Any) -> bool:
    """Whether an entry does nothing when it is read."""
    if key == "target":
        return isinstance(value, dict) or _OPERATIONS.fullmatch(str(value)) is not None
    if key == "expr_str":
        return _EXPRESSION.fullmatch(str(value)) is not None
    if key in ("use_pickle", "guards_code", "metadata"):
        return not value
    if key in ("in_spec", "out_spec"):
        return "__enum__" not in str(value) and set(re.findall(r'"type": "([^"]*)"', str(value))) <= {
            "builtins.tuple", "builtins.list", "builtins.dict",
        }  # fmt: skip
    return key not in ("as_custom_obj", "as_operator") or value is None


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep."""
    if isinstance(value, dict):
        yield from value.items()
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from _entries(inner)


def _refusal(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: holds {what}, which could run code when it is loaded; `nommer export` writes "
        "nothing like it: refused"
    )
