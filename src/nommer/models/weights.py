"""Weights on disk, read as plain tensors, and put into a network that they fit."""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import safe_globals

from nommer.errors import InputError, shortened
from nommer.progress import notice

AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
"""Entries under which people keep averaged weights, which are preferred to the others."""

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network")
"""Entries under which people keep weights, or what holds them."""

PREFIXES = ("module.", "model.", "network.")
"""Prefixes of names of weights where a network was wrapped, besides "_orig_mod."."""

_COMPILED = "_orig_mod."
"""The part that `torch.compile` puts into names, at any place."""

_LEFT_OUT = (
    *("argparse.Namespace", "types.SimpleNamespace", "collections.defaultdict"),
    *(f"pathlib.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath", "Path")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core")
      for name in ("scalar", "_reconstruct")),
    *("numpy.ndarray", "numpy.dtype", "_codecs.encode"),
    *(f"numpy.dtypes.{name}DType" for name in ("Float64", "Float32", "Int64", "Int32", "Bool")),
)  # fmt: skip
"""Objects that people save beside weights; in their place `_Nothing` is put."""

_DTYPES = {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool}
_DTYPES |= {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}


class _Nothing:
    """Stands for whatever a checkpoint holds beside weights; takes anything and keeps nothing."""

    def __new__(cls, *_args: Any, **_options: Any) -> "_Nothing":
        return object.__new__(cls)

    def __setstate__(self, _state: Any) -> None:
        """Keep nothing."""


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.safetensors` file, which holds nothing else.

    Raises:
        InputError: it cannot be read, is cut short, or its header says otherwise than the file is.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: cannot be read as safetensors: {shortened(str(error), 300)}"
        ) from error


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.safetensors` file, or of a `.pt`/`.pth` file that holds plain values.

    A state dict under one of `AVERAGES` or `WRAPPERS` is taken out, an average before others, which
    is said; prefixes of wrapped and compiled networks are taken off.

    Raises:
        InputError: a file that cannot be read so, or whose pickle would run code.
    """
    if path.suffix == ".safetensors":
        return without_prefixes(read_safetensors(path))
    content = _unwrapped(_read_pickle(path), path)
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: is not a state dict (names to tensors)")
    for name, value in content.items():
        _check_plain(path, name, value)
    return without_prefixes(content)


def _read_pickle(path: Path) -> Any:
    try:
        _check_unpacked(path)
        with warnings.catch_warnings(), safe_globals([(_Nothing, name) for name in _LEFT_OUT]):
            warnings.filterwarnings(
                "ignore", message="Detected pickle protocol"
            )  # either it is read or it is refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file makes the reader trip over
        raise InputError(
            f"{path}: is no checkpoint of plain tensors, or is cut short; anything else could run "
            "code when it is loaded, and is refused"
        ) from error


def _check_unpacked(path: Path) -> None:
    """Refuse a zip whose members are larger than it is: `torch.save` packs nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            promised = sum(member.file_size for member in archive.infolist())
        if promised > path.stat().st_size:
            raise InputError(
                f"{path}: is packed, and would take {promised} bytes of memory; save it as "
                "torch.save does"
            )


def _unwrapped(content: Any, path: Path) -> Any:
    """Return the state dict inside, an average before others."""
    while isinstance(content, dict):
        held = [
            key for key in (*AVERAGES, *WRAPPERS)
            if isinstance(content.get(key), dict) and content[key]
        ]  # fmt: skip
        if not held:
            return content
        if held[0] in AVERAGES and len(held) > 1:
            notice(f"{path}: holds {' and '.join(held)}; the average, {held[0]}, is taken")
        content = content[held[0]]
    return content


def _check_plain(path: Path, name: Any, value: Any) -> None:
    """Refuse an entry that is no plain tensor, or that tells of more numbers than it holds."""
    if not isinstance(name, str) or not isinstance(value, Tensor):
        raise InputError(
            f"{path}: is not a state dict (names to tensors): {shortened(str(name))} is "
            f"{type(value).__name__}"
        )
    plain = value.layout is torch.strided and value.device.type == "cpu" and value.dtype in _DTYPES
    if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise InputError(
            f"{path}: {shortened(name)} is no plain tensor, or has more numbers than the file holds"
        )


def without_prefixes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under the names that they had before the network was wrapped.

    Where most names have a prefix of `PREFIXES`, those are the network's, and what has none belongs
    to what was wrapped around it.
    """
    bare = {name.replace(_COMPILED, ""): value for name, value in weights.items()}
    while True:
        counts = {p: sum(name.startswith(p) for name in bare) for p in PREFIXES}
        prefix = max(counts, key=lambda p: counts[p])
        if 2 * counts[prefix] <= len(bare):
            return bare
        bare = {
            name.removeprefix(prefix): value
            for name, value in bare.items()
            if name.startswith(prefix)
        }


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Load a state dict that must fit exactly.

    Raises:
        InputError: names, shapes or kinds of numbers that differ, or values that are NaN or
            infinite; the message lists the first.
    """
    try:
        refuse_misfits(network, weights)
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error
    refuse_values(network.state_dict(), weights, source)
    network.load_state_dict(weights)


def refuse_misfits(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights whose names or shapes are not the network's.

    Raises:
        ValueError: the message lists the first.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    differing = sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )
    if differing:
        shown = "; ".join(
            f"{shortened(n)}: expected {expected.get(n, 'none')}, found {found.get(n, 'none')}"
            for n in differing[:5]
        )
        raise ValueError(f"{len(differing)} entries do not fit the network: {shown}")


def refuse_values(
    expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: Path
) -> None:
    """Refuse weights of another kind of numbers than the network's, or that are not finite.

    Raises:
        InputError: the first entries.
    """
    for name, value in weights.items():
        if value.dtype not in _DTYPES or not _same_kind(expected[name], value):
            raise InputError(
                f"{source}: {shortened(name)} holds {value.dtype}, which the network does not"
            )
    broken = [name for name, value in weights.items() if not bool(value.isfinite().all())]
    if broken:
        shown = ", ".join(shortened(name) for name in broken[:5])
        raise InputError(
            f"{source}: {len(broken)} entries hold values that are NaN or infinite: {shown}"
        )


def _same_kind(one: Tensor, other: Tensor) -> bool:
    """See whether both hold real numbers, or both whole ones."""
    return (
        one.is_floating_point() == other.is_floating_point()
        and one.is_complex() == other.is_complex()
    )
