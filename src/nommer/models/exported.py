"""Exported models behind the same interface as their originals, read from ONNX files alone."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nommer.checksums import check_stamp
from nommer.errors import InputError, quoted, shortened
from nommer.models.descriptions import check_description_values
from nommer.models.exported_networks import INPUT, Runtime
from nommer.models.kinds import kind_for
from nommer.models.recogniser import Recogniser

METADATA = "nommer"
"""Key of the metadata under which task, class names, colours, preprocessing and sizes stand, as
JSON."""

CHECKSUM = "nommer.sha256"
"""Key of the metadata under which the file's own checksum stands."""

FORMAT = 1
"""Version of the metadata; a reader refuses a newer one. Files without one are older and of the
first."""

SUFFIX = ".onnx"
"""Of the files that `load_exported` reads."""


def open_session(path: Path, *, threads: int | None = None) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU.

    With so many threads, or as many as there are cores.

    ONNX Runtime is imported here, and with its telemetry off: else importing it would leave a file
    in the folder for temporary files and ask the network.

    Raises:
        InputError: a file that ONNX Runtime cannot read.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415

    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (
        Exception
    ) as error:  # its own have no common base, and a damaged file may raise nearly any of them
        raise InputError(f"{path}: cannot be read as an ONNX model: {error}") from error


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
    try:
        check_stamp(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    session = open_session(path)
    try:
        description = _read(session.get_modelmeta().custom_metadata_map[METADATA])
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
    return kind.of(kind.exported_network(runtime, description, path), description).eval()


def _read(text: str) -> dict[str, Any]:
    """The metadata of nommer.

    Raises:
        InputError: a newer nommer wrote them, or they are for a task that this one does not know.
    """
    description = json.loads(text)
    if not isinstance(description, dict):
        raise TypeError("everything")
    found = description.get("format", FORMAT)
    if found != FORMAT:
        raise InputError(
            f"written by a newer nommer (format {quoted(found)}, known: {FORMAT}); upgrade nommer"
        )
    check_description_values(description, kind_for(description["task"]).preprocessing_kind)
    return description
