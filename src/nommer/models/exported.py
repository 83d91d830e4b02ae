"""Exported models behind the same interface as their originals, read from ONNX files alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nommer.errors import InputError, shortened
from nommer.models.decisions import Decisions
from nommer.models.descriptions import check_description_values
from nommer.models.exported_networks import INPUT, Runtime
from nommer.models.kinds import kind_for
from nommer.models.onnx_files import WHOLE, open_described
from nommer.models.recogniser import Recogniser


class OnnxRuntime:
    """An ONNX model."""

    name = "ONNX Runtime"

    def __init__(self, session: Any) -> None:
        self.session = session

    def __call__(self, names: Sequence[str], images: Tensor) -> list[Tensor]:
        """The outputs of these names for images (B, 3, H, W) float32."""
        return [
            torch.from_numpy(output)
            for output in self.session.run(list(names), {INPUT: images.numpy()})
        ]


def load_exported(path: Path) -> Recogniser:
    """Load an ONNX file that `nommer export` wrote.

    Raises:
        InputError: a file that cannot be read, or that lacks the class names and the preprocessing.
    """
    session, description = open_described(path)
    if description.get(WHOLE):
        raise InputError(
            f"{path}: is a whole file, which takes pixels as they are: nommer predict and serve "
            "answer with it, and docs/export.md has the ten lines that run it; else give the model "
            "that it was made from, or a file exported without --whole"
        )
    try:
        check_description_values(description, kind_for(description["task"]).preprocessing_kind)
        _check_graph(session, description)
        return build_exported(OnnxRuntime(session), description, path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: was not written by `nommer export`, its metadata lack or spoil "
            f"{shortened(str(error), 200)}"
        ) from error


def _check_graph(session: Any, description: Mapping[str, Any]) -> None:
    """Refuse a graph that does not take images, or does not give what its metadata say.

    Raises:
        InputError: what was found and expected.
    """
    taken = {entry.name: (entry.type, len(entry.shape)) for entry in session.get_inputs()}
    if taken != {INPUT: ("tensor(float)", 4)}:
        raise InputError(
            f"takes {shortened(str(taken), 200)}, expected {INPUT} (batch, 3, height, width)"
        )
    given = {entry.name: len(entry.shape) for entry in session.get_outputs()}
    ranks = kind_for(description["task"]).exported_network.ranks
    for name in description["outputs"]:
        if name not in ranks or given.get(name) != ranks[name]:
            raise InputError(
                f"gives {shortened(name)} with {given.get(name, 'no')} dimensions, expected "
                f"{ranks.get(name, 'another name')}; export the model again"
            )


def build_exported(runtime: Runtime, description: dict[str, Any], path: Path) -> Recogniser:
    """Return the model that `runtime` computes, as its metadata describe it."""
    kind = kind_for(description["task"])
    model = kind.of(kind.exported_network(runtime, description, path), description)
    model.decisions = Decisions.of(description)
    return model.eval()
