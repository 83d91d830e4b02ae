"""The description in the metadata of an ONNX file: taken out of one, put into another."""

import json
from collections.abc import Mapping
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

    Args:
        model: `onnx.ModelProto`; its metadata are replaced.
        description: plain values for JSON.
        path: of the file.
    """
    from onnx.helper import set_model_props  # noqa: PLC0415 - slow to import

    set_model_props(model, {METADATA: json.dumps(description), CHECKSUM: BLANK.decode()})
    content = stamped(model.SerializeToString())
    write_atomically(path, lambda stream: stream.write(content))
