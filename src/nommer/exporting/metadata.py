"""The description in the metadata of an ONNX file: taken out of one, put into another."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nommer.checksums import BLANK, stamped
from nommer.files import write_atomically
from nommer.models.onnx_files import CHECKSUM, METADATA


def description_in(model: Any) -> dict[str, Any]:
    """Return the description in an ONNX model (`onnx.ModelProto`) that `write_described` wrote."""
    text = next(entry.value for entry in model.metadata_props if entry.key == METADATA)
    found: dict[str, Any] = json.loads(text)
    return found


def write_described(model: Any, description: Mapping[str, Any], path: Path) -> None:
    """Write an ONNX model with a description and its own checksum as its only metadata.

    Sets of operations that it does not use are not named any more: ONNX Runtime names all that it
    knows where it optimises a model, and an older one refuses those of which it knows less.

    Args:
        model: `onnx.ModelProto`; its metadata and its sets of operations are replaced.
        description: plain values for JSON.
        path: of the file.
    """
    from onnx.helper import set_model_props  # noqa: PLC0415 - slow to import

    domains = {"", *(node.domain for graph in graphs_of(model.graph) for node in graph.node)}
    used = {entry.domain: entry for entry in model.opset_import if entry.domain in domains}
    del model.opset_import[:]
    model.opset_import.extend(used.values())
    set_model_props(model, {METADATA: json.dumps(description), CHECKSUM: BLANK.decode()})
    content = stamped(model.SerializeToString())
    write_atomically(path, lambda stream: stream.write(content))


def graphs_of(graph: Any) -> Iterator[Any]:
    """Yield an `onnx.GraphProto` and all that its nodes hold."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from graphs_of(inner)
