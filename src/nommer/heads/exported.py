"""Exported models, run by ONNX Runtime or as a `torch.export` program behind the same interface as their originals."""

import json
import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nommer.data.joint_transforms import DensePreprocessing
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.heads.classification import Classifier
from nommer.heads.inference import DenseNetwork
from nommer.heads.programs import open_program
from nommer.heads.segmentation import Segmenter
from nommer.shapes import ClassMap, Images, Logits, PixelLogits

METADATA = "nommer"
"""Key of the metadata under which task, class names, colours, preprocessing and sizes stand, as JSON."""

INPUT, OUTPUT, CELLS = "images", "logits", "cells"
"""Names in the file. A segmenter has two outputs: class scores per pixel, and those per cell that they come from."""

SUFFIXES = (".onnx", ".pt2")
"""Of the files that `load_exported` reads."""


@runtime_checkable
class Runtime(Protocol):
    """What computes an exported model, on the CPU."""

    def __call__(self, output: str, images: Tensor) -> Tensor:
        """One output for images (B, 3, H, W) float32."""


def open_session(path: Path, *, threads: int | None = None) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU; with so many threads, or as many as there are cores.

    ONNX Runtime is imported here, and with its telemetry off: else importing it would leave a file in the folder for
    temporary files and ask the network.

    Raises:
        InputError: a file that ONNX Runtime cannot read.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415

    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile) as error:
        raise InputError(f"{path}: cannot be read as an ONNX model: {error}") from error


class OnnxRuntime:
    """An ONNX model."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def __call__(self, output: str, images: Tensor) -> Tensor:
        """One output for images (B, 3, H, W) float32."""
        return torch.from_numpy(self.session.run([output], {INPUT: images.numpy()})[0])


class ProgramRuntime:
    """A `torch.export` program."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, output: str, images: Tensor) -> Tensor:
        """One output for images (B, 3, H, W) float32."""
        outputs = self.module(images)
        return outputs[(OUTPUT, CELLS).index(output)] if isinstance(outputs, tuple) else outputs


class ExportedNetwork(nn.Module):
    """An exported model as a module: images (B, 3, H, W) float32 to logits, on the CPU."""

    def __init__(self, runtime: Runtime, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.runtime = runtime

    def __deepcopy__(self, memo: dict[int, Any]) -> "ExportedNetwork":
        return self  # what runs it never changes

    def forward(self, images: Images) -> Logits | PixelLogits:
        """Class scores of prepared images (B, 3, H, W): (B, classes), of a segmenter (B, classes, H, W)."""
        return self.run(OUTPUT, images)

    def run(self, output: str, images: Images) -> Tensor:
        """One output of the file."""
        return self.runtime(output, images.float().cpu()).to(images.device)


class ExportedDenseNetwork(ExportedNetwork, DenseNetwork):
    """An exported segmenter's network; it takes images of one size, or of any size from a smallest one."""

    def __init__(self, runtime: Runtime, num_classes: int, *, stride: int, size: dict[str, Any]) -> None:
        super().__init__(runtime, num_classes)
        self.stride, self.smallest = stride, int(size["smallest_size"])
        self.fixed_size = None if size["dynamic_size"] else int(size["size"])

    def scores(self, images: Images) -> ClassMap:
        """Class scores (B, classes, ceil(H / stride), ceil(W / stride)) of prepared images (B, 3, H, W).

        Images below the smallest size are padded with zeros at the right and bottom.
        """
        height, width = images.shape[-2:]
        below, beside = (max(0, self.smallest - side) for side in (height, width))
        cells = self.run(CELLS, F.pad(images, (0, beside, 0, below)) if below or beside else images)
        return cells[..., : -(-height // self.stride), : -(-width // self.stride)]


def load_exported(path: Path) -> Classifier | Segmenter:
    """Load a model that `nommer export` wrote.

    Raises:
        InputError: a file that cannot be read, that would have to execute code, or that lacks the class names and the
            preprocessing.
    """
    runtime, told = _open_onnx(path) if path.suffix == ".onnx" else _open_program(path)
    try:
        description = json.loads(told[METADATA])
        build = _segmenter if description.get("task") == "segmentation" else _classifier
        return build(runtime, description).eval()
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: was not written by `nommer export`, its metadata lack or spoil {error}") from error


def _open_onnx(path: Path) -> tuple[Runtime, dict[str, str]]:
    session = open_session(path)
    return OnnxRuntime(session), session.get_modelmeta().custom_metadata_map


def _open_program(path: Path) -> tuple[Runtime, dict[str, str]]:
    module, extra = open_program(path)
    return ProgramRuntime(module), extra


def _classifier(runtime: Runtime, description: dict[str, Any]) -> Classifier:
    names = description["class_names"]
    preprocessing = Preprocessing(**description["preprocessing"])
    network, threshold = ExportedNetwork(runtime, len(names)), description.get("threshold")
    return Classifier(network, class_names=names, preprocessing=preprocessing, threshold=threshold)


def _segmenter(runtime: Runtime, description: dict[str, Any]) -> Segmenter:
    names = description["class_names"]
    preprocessing = DensePreprocessing(**description["preprocessing"])
    network = ExportedDenseNetwork(runtime, len(names), stride=int(description["stride"]), size=description["input"])
    return Segmenter(network, class_names=names, colours=description["colours"], preprocessing=preprocessing)
