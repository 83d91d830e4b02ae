"""Models on disk: `model.safetensors` and `model.json`, read without executing anything.

And published checkpoints.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from safetensors.torch import save

from nommer.backbone.network import NomMer
from nommer.checksums import check_description, check_file, checksum, with_checksums
from nommer.errors import InputError, quoted, shortened
from nommer.files import write_atomically, write_json
from nommer.models.decisions import Decisions
from nommer.models.descriptions import TRIPPED, check_description_values, check_shapes
from nommer.models.ensemble_networks import Ensemble
from nommer.models.ensembles import ensemble_of, folds_of, with_thresholds_of
from nommer.models.exported import load_exported
from nommer.models.kinds import kind_for
from nommer.models.networks import as_nominating, check_same_architecture
from nommer.models.onnx_files import SUFFIX
from nommer.models.published import load_published
from nommer.models.pyramid import NUM_MAPS, OnBackbone
from nommer.models.recogniser import Recogniser
from nommer.models.simple_pyramid import plain_of
from nommer.models.weights import load_weights, read_safetensors
from nommer.progress import notice
from nommer.zoo import DESCRIPTION, WEIGHTS, entries, entry_meant_by

FORMAT = 1
"""Version of `model.json`; a reader refuses a newer one."""

_PROGRAM = ".pt2"
"""Ending of programs of `torch.export`."""

Model: TypeAlias = Recogniser
"""A model that is saved and loaded."""


def save_model(folder: Path, model: Model, *, metrics: Mapping[str, Any], version: str) -> None:
    """Write a model to use into `folder` (made if need be).

    Weights and all that prediction needs to know.

    Where one is replaced, its numbers go first and the new ones come last: at no moment, whatever
    becomes of this process, numbers stand beside weights that they are not of.

    Raises:
        InputError: an exported model, which holds no weights to save.
    """
    network_of(model, folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in model.network.state_dict().items()
    }
    _withdraw_numbers(folder / DESCRIPTION)
    write_atomically(folder / WEIGHTS, lambda stream: stream.write(save(weights)))
    description = {
        "format": FORMAT,
        "nommer_version": version,
        "task": model.task,
        **model.architecture(),
        **model.labels(),
        **model.decisions.as_entry(),
        "class_names": list(model.class_names),
        "preprocessing": model.preprocessing.to_dict(),
        "metrics": dict(metrics),
    }
    files = {WEIGHTS: checksum(folder / WEIGHTS)}
    write_json(folder / DESCRIPTION, with_checksums(description, DESCRIPTION, files))


def folder_of(path: Path) -> Path | None:
    """Return the folder with the model that a path means; None of a file."""
    if entry := entry_meant_by(path):
        return entry.verified()
    folders = (folder for folder in (path, path / "model") if (folder / DESCRIPTION).is_file())
    return next(folders, None)


def _withdraw_numbers(path: Path) -> None:
    """Take the numbers out of a description whose weights are about to be replaced.

    Their checksum too. A description that is none is removed.
    """
    if path.is_file():
        try:
            description, _ = read_description(path)
            write_json(path, with_checksums(description | {"metrics": {}}, DESCRIPTION, {}))
        except InputError:
            path.unlink()


def load(path: str | Path) -> Model:
    """Load a model: run folder, `model/` folder, exported `.onnx`, checkpoint, or zoo name.

    A folder of folds is the ensemble of their models.

    Nothing in the file is executed: weights are safetensors, other people's `.pt` are read as plain
    tensors only, and a `.pt2`, which would be, is refused.

    Raises:
        InputError: nothing there, a damaged or foreign file, or weights that do not fit the
            description.
    """
    model = read_model(path)
    if entry := entry_meant_by(Path(path)):
        notice(f"the weights of {entry.name} are {entry.terms}")
    return model


def read_model(path: str | Path) -> Model:
    """Load as `load` does, with its errors, without telling the terms of weights of the zoo."""
    path = Path(path)
    if folder := folder_of(path):
        return _load_folder(folder)
    if folds := folds_of(path):
        return with_thresholds_of(path, ensemble_of([read_model(one) for one in folds], folds))
    if path.is_file():
        _refuse_program(path)
        return load_exported(path) if path.suffix == SUFFIX else load_published(path)
    found = (
        "has no model/ yet (training has not finished an epoch)"
        if (path / "config.yaml").is_file()
        else "holds no model"
    )
    if not path.exists():
        found = "does not exist"
    names = ", ".join(entry.name for entry in entries())
    of_zoo = f"; in the zoo there are {names}" if names else ""
    raise InputError(
        f"{path}: {found}; expected a run folder, a folder with {DESCRIPTION} and {WEIGHTS}, or a "
        f"checkpoint{of_zoo}"
    )


def _refuse_program(path: Path) -> None:
    """Refuse a program of torch.export, unread.

    Raises:
        InputError: it is one, by its name.
    """
    if path.suffix.lower() == _PROGRAM:
        raise InputError(
            f"{path}: is a program of torch.export, which can run any code when it is loaded; "
            f"nommer writes such files and reads none: give model{SUFFIX}, or the run folder or "
            "model folder that it was made from"
        )


def _load_folder(folder: Path) -> Model:
    description, checksums = read_description(folder / DESCRIPTION)
    weights = read_safetensors(folder / WEIGHTS)
    if WEIGHTS in checksums:
        check_file(folder / WEIGHTS, checksums[WEIGHTS], DESCRIPTION)
    try:
        kind = kind_for(description.get("task", "classification"))
    except InputError as error:
        raise InputError(f"{folder / DESCRIPTION}: {error}") from error
    try:
        check_description_values(description, kind.preprocessing_kind)
        check_shapes(lambda: _build(kind, description).network, weights)
        model = _build(kind, description)
    except TRIPPED as error:
        raise InputError(
            f"{folder / DESCRIPTION}: does not describe a model: {shortened(str(error), 300)}"
        ) from error
    load_weights(model.network, weights, folder / WEIGHTS)
    return model.eval()


def _build(kind: type[Recogniser], description: Mapping[str, Any]) -> Recogniser:
    model = kind.of(kind.build_network(description), description)
    model.decisions = Decisions.of(description)
    return model


def read_description(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the content of `model.json`, and the checksums of the files beside it.

    Older ones have none.

    Raises:
        InputError: it cannot be read, was changed, or is from a newer nommer.
    """
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {shortened(str(error), 200)}") from error
    if not isinstance(description, dict) or "format" not in description:
        raise InputError(f"{path}: is not the description of a nommer model")
    if not isinstance(description["format"], int) or description["format"] > FORMAT:
        raise InputError(
            f"{path}: written by a newer nommer (format {quoted(description['format'])}, known: "
            f"{FORMAT}); upgrade nommer"
        )
    return description, check_description(description, path)


def network_of(model: Model, source: str | Path) -> Any:
    """The network inside `model`, of a segmenter or a detector its backbone.

    A NomMer or a network of timm.

    Raises:
        InputError: `source` is an exported model, which holds no network that could be trained or
            looked into, or an ensemble, which holds several.
    """
    if isinstance(model.network, Ensemble):
        raise InputError(
            f"{source}: is an ensemble of folds, with a network in each; give one of them, such as "
            f"{Path(source) / 'fold-0'}"
        )
    if model.exported is not None:
        raise InputError(
            f"{source}: is an exported model; give the run folder or the model folder it was made "
            "from"
        )
    return model.backbone


def nommer_of(model: Model, source: str | Path) -> NomMer:
    """The NomMer inside `model`, to look into what it nominates.

    Raises:
        InputError: `source` is an exported model, or one with a network that nominates nothing.
    """
    return as_nominating(network_of(model, source), source)


def load_backbone(network: OnBackbone, source: Path) -> tuple[list[str], list[str]]:
    """Take over the backbone of any model, on disk or a published checkpoint.

    A classifier's, or what was built on one.

    A position embedding of another size is resampled.

    Returns:
        The names of the entries at `source` that are taken over, and of those that are left there.

    Raises:
        InputError: nothing that can be loaded, or a network that differs in a part that has
            weights.
    """
    model = load(source)
    names, other = list(model.network.state_dict()), network_of(model, source)
    check_same_architecture(network.backbone, other, source)
    if isinstance(other, NomMer) and isinstance(network.backbone, NomMer):
        other.set_input_size(network.backbone.config.img_size)
    other.prune_intermediate_layers(NUM_MAPS, prune_norm=True, prune_head=True)
    into = network.backbone if type(other) is type(network.backbone) else plain_of(network.backbone)
    load_weights(into, other.state_dict(), source)
    prefix = "" if other is model.network else "backbone."
    loaded = {prefix + name for name in other.state_dict()}
    return [name for name in names if name in loaded], [
        name for name in names if name not in loaded
    ]
