"""The models of a server, under the names that requests call them by."""

from collections.abc import Sequence
from pathlib import Path

from nommer.errors import InputError
from nommer.models.onnx_files import SUFFIX, WHOLE, open_described
from nommer.models.whole import WholeFile
from nommer.serving.model import ServedModel
from nommer.serving.whole import WholeModel

_SAY_NOTHING = {"model", "export", "whole", "best", "attempt"}
"""Names of files and folders that do not tell what is in them."""


def open_models(
    named: Sequence[str], *, threads: int | None, device: str
) -> dict[str, ServedModel]:
    """Load the models of a server.

    Args:
        named: MODEL, or NAME=MODEL.
        threads: of computations on the CPU.
        device: of models in PyTorch.

    Raises:
        InputError: two models of one name, or one that cannot be loaded.
    """
    models: dict[str, ServedModel] = {}
    for text in named:
        name, source = name_and_source(text)
        if name in models:
            raise InputError(
                f"{text}: is the second model called {name}; call one otherwise, as in "
                f"other={source}"
            )
        models[name] = open_model(name, source, threads=threads, device=device)
    return models


def name_and_source(text: str) -> tuple[str, str]:
    """Return the name of a model in requests, and where it is."""
    name, sign, source = text.partition("=")
    if sign and name and "/" not in name and not Path(text).exists():
        return name, source
    path = Path(text)
    parts = [path.stem if path.suffix == SUFFIX else path.name, *(p.name for p in path.parents)]
    telling = (part for part in parts if part and part not in _SAY_NOTHING)
    return next(telling, path.stem or "model"), text


def open_model(name: str, source: str, *, threads: int | None, device: str) -> ServedModel:
    """Load one model: a whole file by itself, all else through PyTorch."""
    path = Path(source)
    if path.suffix == SUFFIX:
        session, told = open_described(path, threads=threads)
        if told.get(WHOLE):
            return WholeModel(name, WholeFile(path, session, told))
    from nommer.serving.loaded import LoadedModel  # noqa: PLC0415 - loads PyTorch

    return LoadedModel(name, source, device=device, threads=threads)
