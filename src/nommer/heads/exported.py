"""An exported classifier, run by ONNX Runtime behind the same interface as the one it was made from."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.heads.classification import Classifier
from nommer.shapes import Images, Logits

METADATA = "nommer"
"""Key of the ONNX metadata under which class names and preprocessing stand, as JSON."""

INPUT, OUTPUT = "images", "logits"


def open_session(path: Path) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU.

    ONNX Runtime is imported here, and with its telemetry off: else importing it would leave a file in the folder for
    temporary files and ask the network.

    Raises:
        InputError: a file that ONNX Runtime cannot read.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415

    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile) as error:
        raise InputError(f"{path}: cannot be read as an ONNX model: {error}") from error


class OnnxNetwork(nn.Module):
    """An ONNX model as a module: images (B, 3, H, W) float32 to logits (B, classes), on the CPU."""

    def __init__(self, session: Any, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.session = session

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxNetwork":
        return self  # a session never changes

    def forward(self, images: Images) -> Logits:
        """Class scores (B, num_classes) of prepared images (B, 3, H, W)."""
        scores: Tensor = torch.from_numpy(self.session.run([OUTPUT], {INPUT: images.float().cpu().numpy()})[0])
        return scores.to(images.device)


def load_onnx(path: Path) -> Classifier:
    """Load a model that `nommer export` wrote.

    Raises:
        InputError: a file that ONNX Runtime cannot read, or that lacks the class names and the preprocessing.
    """
    session = open_session(path)
    try:
        description = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
        names = description["class_names"]
        network, preprocessing = OnnxNetwork(session, len(names)), Preprocessing(**description["preprocessing"])
        return Classifier(network, class_names=names, preprocessing=preprocessing).eval()
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: was not written by `nommer export`, its metadata lack or spoil {error}") from error
