"""Models on disk: `model.safetensors` and `model.json`, read without executing anything; and published checkpoints."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from nommer.backbone.checkpoint import from_published, is_published, published_config
from nommer.backbone.config import NomMerConfig
from nommer.backbone.network import NomMer
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.files import write_atomically, write_json
from nommer.heads.classification import Classifier
from nommer.heads.exported import load_onnx

FORMAT = 1
"""Version of `model.json`; a reader refuses a newer one."""

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


def save_model(folder: Path, model: Classifier, *, metrics: Mapping[str, Any], version: str) -> None:
    """Write a model to use into `folder` (made if need be): weights and all that prediction needs to know."""
    folder.mkdir(parents=True, exist_ok=True)
    network = network_of(model, folder)
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_atomically(folder / WEIGHTS, lambda stream: stream.write(save(weights)))
    description = {
        "format": FORMAT,
        "nommer_version": version,
        "task": "classification",
        "architecture": asdict(network.config),
        "class_names": list(model.class_names),
        "preprocessing": model.preprocessing.to_dict(),
        "metrics": dict(metrics),
    }
    write_json(folder / DESCRIPTION, description)


def load(path: str | Path) -> Classifier:
    """Load a model: a run folder, its `model/` folder, an exported `.onnx`, or a checkpoint in the published layout.

    Nothing in the file is executed: weights are safetensors, and other people's `.pt` are read as plain tensors only.

    Raises:
        InputError: nothing there, a damaged or foreign file, or weights that do not fit the description.
    """
    path = Path(path)
    if path.is_file():
        return load_onnx(path) if path.suffix == ".onnx" else _load_published(path)
    for folder in (path, path / "model"):
        if (folder / DESCRIPTION).is_file():
            return _load_folder(folder)
    found = (
        "has no model/ yet (training has not finished an epoch)"
        if (path / "config.yaml").is_file()
        else "holds no model"
    )
    if not path.exists():
        found = "does not exist"
    raise InputError(
        f"{path}: {found}; expected a run folder, a folder with {DESCRIPTION} and {WEIGHTS}, or a checkpoint"
    )


def _load_folder(folder: Path) -> Classifier:
    description = _read_description(folder / DESCRIPTION)
    weights = _read_safetensors(folder / WEIGHTS)
    try:
        network = NomMer(NomMerConfig(**description["architecture"]))
        preprocessing = Preprocessing(**description["preprocessing"])
        model = Classifier(network, class_names=description["class_names"], preprocessing=preprocessing)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / DESCRIPTION}: does not describe a model: {error}") from error
    load_weights(network, weights, folder / WEIGHTS)
    return model.eval()


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(description, dict) or "format" not in description:
        raise InputError(f"{path}: is not the description of a nommer model")
    if not isinstance(description["format"], int) or description["format"] > FORMAT:
        raise InputError(
            f"{path}: written by a newer nommer (format {description['format']!r}, known: {FORMAT}); upgrade nommer"
        )
    return description


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {error}") from error


def network_of(model: Classifier, source: str | Path) -> NomMer:
    """The NomMer inside `model`.

    Raises:
        InputError: `source` is an exported model, which holds no network that could be trained or looked into.
    """
    if not isinstance(model.network, NomMer):
        raise InputError(f"{source}: is an exported model; give the run folder or the model folder it was made from")
    return model.network


def load_weights(network: NomMer, weights: Mapping[str, Tensor], source: Path) -> None:
    """Load a state dict that must fit exactly.

    Raises:
        InputError: names and shapes that differ; the message lists the first of them.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if expected != found:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        shown = "; ".join(
            f"{n}: expected {expected.get(n, 'none')}, found {found.get(n, 'none')}" for n in differing[:5]
        )
        raise InputError(f"{source}: {len(differing)} entries do not fit the network: {shown}")
    network.load_state_dict(weights)


def _load_published(path: Path) -> Classifier:
    weights = read_checkpoint(path)
    if not is_published(weights):
        raise InputError(
            f"{path}: not in the layout of the published NomMer checkpoints; for a nommer model give its folder"
        )
    try:
        network = NomMer(published_config(weights))
        converted = from_published(weights)
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: no complete checkpoint of a NomMer: {error}") from error
    load_weights(network, converted, path)
    names = [f"class {index}" for index in range(network.num_classes)]
    image_size = max(network.config.position_grid) * network.config.reductions[2]
    return Classifier(network, class_names=names, preprocessing=Preprocessing(image_size=image_size)).eval()


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.safetensors` file, or of a `.pt`/`.pth` file that holds nothing but plain values.

    A state dict under "model" or "state_dict", and a "module." prefix, are taken off.

    Raises:
        InputError: a file that cannot be read so, or whose pickle would run code.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # either it is read or it is refused
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # whatever a damaged file makes the reader trip over
        raise InputError(
            f"{path}: is no checkpoint of plain tensors, or is cut short; anything else could run code when it is "
            "loaded, and is refused"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{path}: is not a state dict (names to tensors)")
    return {name.removeprefix("module."): value for name, value in content.items()}
