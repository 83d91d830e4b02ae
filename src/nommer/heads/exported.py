"""An exported classifier, run by ONNX Runtime behind the same interface as the one it was made from."""

import json
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, NoSuchFile
from torch import Tensor, nn

from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.heads.classification import Classifier
from nommer.shapes import Images, Logits

METADATA = "nommer"
"""Key of the ONNX metadata under which class names and preprocessing stand, as JSON."""

INPUT, OUTPUT = "images", "logits"


class OnnxNetwork(nn.Module):
    """An ONNX model as a module: images (B, 3, H, W) float32 to logits (B, classes), on the CPU."""

    def __init__(self, path: Path, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

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
    try:
        metadata = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_modelmeta()
        description = json.loads(metadata.custom_metadata_map[METADATA])
        names = description["class_names"]
        network = OnnxNetwork(path, num_classes=len(names))
        return Classifier(
            network, class_names=names, preprocessing=Preprocessing(**description["preprocessing"])
        ).eval()
    except (Fail, InvalidGraph, InvalidProtobuf, NoSuchFile) as error:
        raise InputError(f"{path}: cannot be read as an ONNX model: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: was not written by `nommer export`, its metadata lack the key {error}") from error
