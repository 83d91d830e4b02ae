"""ONNX files that `nommer export` wrote, and the runtime that computes them; loads no PyTorch."""

import json
import os
from pathlib import Path
from typing import Any

from nommer.checksums import check_stamp
from nommer.errors import InputError, quoted, shortened
from nommer.extras import require

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

WHOLE = "whole"
"""Entry of the metadata that says that a file takes pixels; others take prepared images."""


def open_session(path: Path, *, threads: int | None = None) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU.

    With so many threads, or as many as there are cores.

    ONNX Runtime is imported here, and with its telemetry off: else importing it would leave a file
    in the folder for temporary files and ask the network.

    Raises:
        InputError: a file that ONNX Runtime cannot read.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    onnxruntime = require("onnxruntime", "export", str(path))
    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3  # a whole file says that thresholds may be given; so it is
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (
        Exception
    ) as error:  # its own have no common base, and a damaged file may raise nearly any of them
        raise InputError(f"{path}: cannot be read as an ONNX model: {error}") from error


def open_described(path: Path, *, threads: int | None = None) -> tuple[Any, dict[str, Any]]:
    """Return a session on a file that `nommer export` wrote, and its metadata, unchecked but whole.

    Raises:
        InputError: a file that cannot be read, was changed, has no metadata, or newer ones.
    """
    try:
        check_stamp(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    session = open_session(path, threads=threads)
    try:
        text = session.get_modelmeta().custom_metadata_map[METADATA]
        description = dict(json.loads(text).items())
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: was not written by `nommer export`, its metadata lack or spoil "
            f"{shortened(str(error), 200)}"
        ) from error
    found = description.get("format", FORMAT)
    if found != FORMAT:
        raise InputError(
            f"{path}: written by a newer nommer (format {quoted(found)}, known: {FORMAT}); upgrade "
            "nommer"
        )
    return session, description
