"""Weights on disk, read as plain tensors, and put into a network that they fit."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nommer.errors import InputError


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.safetensors` file, which holds nothing else.

    Raises:
        InputError: it cannot be read, is cut short, or its header says otherwise than the file is.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {error}") from error


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.safetensors` file, or of a `.pt`/`.pth` file that holds nothing but plain
    values.

    A state dict under "model" or "state_dict", and a "module." prefix, are taken off.

    Raises:
        InputError: a file that cannot be read so, or whose pickle would run code.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="Detected pickle protocol"
            )  # either it is read or it is refused
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # whatever a damaged file makes the reader trip over
        raise InputError(
            f"{path}: is no checkpoint of plain tensors, or is cut short; anything else could run "
            "code when it is "
            "loaded, and is refused"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise InputError(f"{path}: is not a state dict (names to tensors)")
    return {name.removeprefix("module."): value for name, value in content.items()}


def check_described(architecture: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Refuse a description of a network far larger than its weights, before the memory for it is
    asked for.

    Raises:
        ValueError: both numbers.
    """
    if "timm" in architecture:
        return
    blocks, width = sum(architecture.get("depths", ())), architecture.get("embed_dim", 0)
    widest = max((size for value in weights.values() for size in value.shape), default=0)
    if blocks > len(weights):
        raise ValueError(f"{blocks} blocks, but {len(weights)} entries of weights")
    if width > widest:
        raise ValueError(f"embed_dim {width}, but no entry of the weights is wider than {widest}")


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Load a state dict that must fit exactly.

    Raises:
        InputError: names, shapes or kinds of numbers that differ, or values that are none; the
            message lists the first.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if expected != found:
        differing = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        shown = "; ".join(
            f"{n}: expected {expected.get(n, 'none')}, found {found.get(n, 'none')}"
            for n in differing[:5]
        )
        raise InputError(f"{source}: {len(differing)} entries do not fit the network: {shown}")
    kinds = [
        name for name, value in network.state_dict().items() if not _same_kind(value, weights[name])
    ]
    if kinds:
        raise InputError(
            f"{source}: {kinds[0]} holds {weights[kinds[0]].dtype}, which the network does not"
        )
    broken = [name for name, value in weights.items() if not bool(value.isfinite().all())]
    if broken:
        shown = ", ".join(broken[:5])
        raise InputError(
            f"{source}: {len(broken)} entries hold values that are no numbers (NaN or infinite): "
            f"{shown}"
        )
    network.load_state_dict(weights)


def _same_kind(one: Tensor, other: Tensor) -> bool:
    """Whether both hold real numbers, or both whole ones."""
    return (
        one.is_floating_point() == other.is_floating_point()
        and one.is_complex() == other.is_complex()
    )
