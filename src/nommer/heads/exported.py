"""Exported models, run by ONNX Runtime behind the same interface as those that they were made from."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nommer.data.joint_transforms import DensePreprocessing
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.heads.classification import Classifier
from nommer.heads.inference import DenseNetwork
from nommer.heads.segmentation import Segmenter
from nommer.shapes import ClassMap, Images, Logits, PixelLogits

METADATA = "nommer"
"""Key of the ONNX metadata under which task, class names, colours and preprocessing stand, as JSON."""

INPUT, OUTPUT, CELLS = "images", "logits", "cells"
"""Names in the file. A segmenter has two outputs: class scores per pixel, and those per cell that they come from."""


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
    """An ONNX model as a module: images (B, 3, H, W) float32 to logits, on the CPU."""

    def __init__(self, session: Any, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.session = session

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxNetwork":
        return self  # a session never changes

    def forward(self, images: Images) -> Logits | PixelLogits:
        """Class scores of prepared images (B, 3, H, W): (B, classes), of a segmenter (B, classes, H, W)."""
        return self.run(OUTPUT, images)

    def run(self, output: str, images: Images) -> Tensor:
        """One output of the file."""
        scores: Tensor = torch.from_numpy(self.session.run([output], {INPUT: images.float().cpu().numpy()})[0])
        return scores.to(images.device)


class OnnxDenseNetwork(OnnxNetwork, DenseNetwork):
    """An exported segmenter's network; it takes images (B, 3, side, side) only."""

    def __init__(self, session: Any, num_classes: int) -> None:
        super().__init__(session, num_classes)
        self.fixed_size = session.get_inputs()[0].shape[-1]
        (cells,) = (output.shape[-1] for output in session.get_outputs() if output.name == CELLS)
        self.stride = self.fixed_size // cells

    def scores(self, images: Images) -> ClassMap:
        """Class scores (B, classes, side / stride, side / stride) of prepared images (B, 3, side, side)."""
        return self.run(CELLS, images)


def load_onnx(path: Path) -> Classifier | Segmenter:
    """Load a model that `nommer export` wrote.

    Raises:
        InputError: a file that ONNX Runtime cannot read, or that lacks the class names and the preprocessing.
    """
    session = open_session(path)
    try:
        description = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
        build = _segmenter if description.get("task") == "segmentation" else _classifier
        return build(session, description).eval()
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: was not written by `nommer export`, its metadata lack or spoil {error}") from error


def _classifier(session: Any, description: dict[str, Any]) -> Classifier:
    names = description["class_names"]
    preprocessing = Preprocessing(**description["preprocessing"])
    return Classifier(OnnxNetwork(session, len(names)), class_names=names, preprocessing=preprocessing)


def _segmenter(session: Any, description: dict[str, Any]) -> Segmenter:
    names = description["class_names"]
    preprocessing = DensePreprocessing(**description["preprocessing"])
    network = OnnxDenseNetwork(session, len(names))
    return Segmenter(network, class_names=names, colours=description["colours"], preprocessing=preprocessing)
